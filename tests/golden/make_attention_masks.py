"""Writes attention_masks.txt: attention with grouped queries, a window, packed documents and cross-attention with padding,
and its gradients, as PyTorch computes them in double with explicit masks.

Lines are "name value value ...". Arrays are [batch, tokens, heads or key heads, head_dim]; bounds are [batch, tokens].
The inputs are representable in float32. Run from this directory.
"""

import torch
import torch.nn.functional as F

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(5)
batch, tokens, cross_tokens, heads, key_heads, head_dim, window = 2, 6, 4, 4, 2, 4, 3


def draw(length, count):
    return torch.randn(batch, length, count, head_dim, generator=generator).double()


q, d_out = draw(tokens, heads), draw(tokens, heads)
k, v, cross_k, cross_v = (draw(n, key_heads) for n in (tokens, tokens, cross_tokens, cross_tokens))
first_key = torch.tensor([[0, 0, 2, 2, 2, 5], [0, 1, 1, 1, 4, 4]])
end_key = torch.tensor([[cross_tokens] * tokens, [3] * tokens])

query = torch.arange(tokens)[:, None]
key = torch.arange(tokens)[None, :]
masks = {
    "window": ((key <= query) & (key > query - window)).expand(batch, tokens, tokens),
    "documents": (key <= query) & (key >= first_key[:, :, None]),
    "cross": torch.arange(cross_tokens)[None, None, :] < end_key[:, :, None],
}
entries = [("shape", torch.tensor([batch, tokens, cross_tokens, heads, key_heads, head_dim])), ("q", q), ("k", k),
           ("v", v), ("cross.k", cross_k), ("cross.v", cross_v), ("d_out", d_out), ("window", torch.tensor([window])),
           ("first_key", first_key), ("end_key", end_key)]
for name, mask in masks.items():
    leaves = [x.clone().requires_grad_() for x in ((q, cross_k, cross_v) if name == "cross" else (q, k, v))]
    out = F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in leaves), attn_mask=mask[:, None],
                                         enable_gqa=True).transpose(1, 2)
    out.backward(d_out)
    entries += [(f"{name}.out", out)] + [(f"{name}.d{n}", x.grad) for n, x in zip("qkv", leaves)]

with open("attention_masks.txt", "w") as file:
    for name, values in entries:
        flat = values.detach().double().flatten().tolist()
        file.write(name + "".join(f" {value:.17g}" for value in flat) + "\n")
