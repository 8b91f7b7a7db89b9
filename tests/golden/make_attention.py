"""Writes attention.txt: causal attention and its gradients as PyTorch computes them in double for a small input.

Lines are "name value value ...". Arrays are [batch, tokens, heads, head_dim]; log_sum_exp is [batch, heads, tokens].
The inputs are representable in float32. Run from this directory.
"""

import torch
import torch.nn.functional as F

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(3)
batch, tokens, heads, head_dim = 2, 5, 2, 4
q, k, v, d_out = (torch.randn(batch, tokens, heads, head_dim, generator=generator).double() for _ in range(4))
for leaf in (q, k, v):
    leaf.requires_grad_()

out = F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v)), is_causal=True).transpose(1, 2)
out.backward(d_out)
scores = torch.einsum("bihd,bjhd->bhij", q, k) / head_dim**0.5
above = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
log_sum_exp = scores.masked_fill(above, -torch.inf).logsumexp(-1)

with open("attention.txt", "w") as file:
    for name, values in [("shape", torch.tensor([batch, tokens, heads, head_dim])), ("q", q), ("k", k), ("v", v),
                         ("d_out", d_out), ("out", out), ("log_sum_exp", log_sum_exp), ("dq", q.grad), ("dk", k.grad),
                         ("dv", v.grad)]:
        flat = values.detach().double().flatten().tolist()
        file.write(name + "".join(f" {value:.17g}" for value in flat) + "\n")
