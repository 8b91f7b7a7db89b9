"""Writes fused_ops.txt: what PyTorch computes, in float64, for the operators that are fused with dropout or a residual
branch (embedding, norms, attention, dropout by itself), for rows by index and for rows of length 1; with all gradients.

PyTorch is given the mask of the dropped elements, which this file computes from the published Philox4x32-10 and from the
text of ops/tensor/context.h alone. Lines are "name value value ...". All inputs are representable in float32. Run from
this directory.
"""

import numpy as np
import torch
import torch.nn.functional as F

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(11)
entries = []


def philox4x32(counter, key):
    """Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011), figure 2 and section 4.3."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & 0xFFFFFFFF, (p0 >> 32) ^ c3 ^ k1, p0 & 0xFFFFFFFF
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


# Known answers of the authors' Random123 library (kat_vectors).
assert philox4x32((0, 0, 0, 0), (0, 0)) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
assert philox4x32((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0)) == (
    0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)

P, SEED, FIRST_SAMPLE, SITE = float(np.float32(0.3)), (5 << 32) + 17, (1 << 33) + 3, 9


def factors(*shape):
    """0 where an element is dropped, else 1/(1-p); shape[0] counts samples."""
    rows, width = shape[0], int(np.prod(shape[1:]))
    words = []
    for row in range(rows):
        sample = FIRST_SAMPLE + row
        for block in range((width + 3) // 4):
            counter = (block, SITE, sample & 0xFFFFFFFF, sample >> 32)
            words += philox4x32(counter, (SEED & 0xFFFFFFFF, SEED >> 32))[:min(4, width - 4 * block)]
    dropped = torch.tensor([word < int(P * 2**32) for word in words]).reshape(shape)
    assert 0 < dropped.sum() < dropped.numel()
    return (~dropped).double() / (1 - P)


def draw(*shape):
    return torch.randn(*shape, generator=generator).double().requires_grad_()


def record(prefix, **arrays):
    for name, values in arrays.items():
        entries.append((f"{prefix}.{name}", values))


batch, tokens, width = 2, 5, 6
entries += [("dropout.p", torch.tensor([P])), ("dropout.seed", torch.tensor([SEED])),
            ("dropout.first_sample", torch.tensor([FIRST_SAMPLE])), ("dropout.site", torch.tensor([SITE]))]
x, d_out = draw(batch, tokens, width), draw(batch, tokens, width)
out = x * factors(batch, tokens, width)
out.backward(d_out)
record("dropout", x=x, d_out=d_out, out=out, d_x=x.grad)

vocabulary, positions = 7, 8
ids = torch.tensor([[3, 0, 3, 6, 1], [3, 3, 1, 0, 0]])
token_table, position_table, d_out = draw(vocabulary, width), draw(positions, width), draw(batch, tokens, width)
out = (F.embedding(ids, token_table) + F.embedding(torch.arange(tokens), position_table)) * factors(batch, tokens, width)
out.backward(d_out)
record("embedding", ids=ids, token_table=token_table, position_table=position_table, d_out=d_out, out=out,
       d_token_table=token_table.grad, d_position_table=position_table.grad)

for name in ("layer_norm", "rms_norm"):
    x, branch, gamma, beta = draw(batch, tokens, width), draw(batch, tokens, width), draw(width), draw(width)
    d_residual, d_normed = draw(batch, tokens, width), draw(batch, tokens, width)
    residual = x + branch * factors(batch, tokens, width)
    if name == "layer_norm":
        normed = F.layer_norm(residual, (width,), gamma, beta, eps=2.0**-17)
    else:
        normed = F.rms_norm(residual, (width,), gamma, eps=2.0**-17)
    torch.autograd.backward((residual, normed), (d_residual, d_normed))
    record(name, x=x, branch=branch, gamma=gamma, d_residual=d_residual, d_normed=d_normed, residual=residual,
           normed=normed, d_x=x.grad, d_branch=branch.grad, d_gamma=gamma.grad)
    if name == "layer_norm":
        record(name, beta=beta, d_beta=beta.grad)

heads, key_heads, head_dim = 4, 2, 4
q, d_out = draw(batch, tokens, heads, head_dim), draw(batch, tokens, heads, head_dim)
k, v = draw(batch, tokens, key_heads, head_dim), draw(batch, tokens, key_heads, head_dim)
every_k, every_v = (x.repeat_interleave(heads // key_heads, dim=2) for x in (k, v))
scores = torch.einsum("bihd,bjhd->bhij", q, every_k) / head_dim**0.5
scores = scores.masked_fill(torch.ones(tokens, tokens, dtype=torch.bool).triu(1), -torch.inf)
probabilities = F.softmax(scores, dim=-1) * factors(batch, heads, tokens, tokens)
out = torch.einsum("bhij,bjhd->bihd", probabilities, every_v)
out.backward(d_out)
record("attention", shape=torch.tensor([batch, tokens, heads, key_heads, head_dim]), q=q, k=k, v=v, d_out=d_out, out=out,
       dq=q.grad, dk=k.grad, dv=v.grad)

x, indices, d_out = draw(5, width), torch.tensor([4, 0, 4, 2, 4]), draw(5, width)
out = torch.index_select(x, 0, indices)
out.backward(d_out)
record("gather_rows", x=x, indices=indices, d_out=d_out, out=out, d_x=x.grad)

x, d_out = draw(3, width), draw(3, width)
out = F.normalize(x, dim=-1)
out.backward(d_out)
record("normalize_rows", x=x, d_out=d_out, out=out, d_x=x.grad)

with open("fused_ops.txt", "w") as file:
    for name, values in entries:
        flat = values.detach().double().flatten().tolist()
        file.write(name + "".join(f" {value:.17g}" for value in flat) + "\n")
