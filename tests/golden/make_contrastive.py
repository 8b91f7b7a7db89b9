"""Contrastive losses and bounds of mutual information from PyTorch in double: tests/golden/contrastive.txt.

Inputs are those of a linear congruential generator, so that the file needs to hold results only.
"""
import math
import sys

import torch
from torch.nn import functional as F

torch.set_default_dtype(torch.float64)


def lcg(seed, *shape):
    values = []
    for _ in range(math.prod(shape)):
        seed = (6364136223846793005 * seed + 1442695040888963407) % 2**64
        values.append((seed >> 11) / 2**53 * 2 - 1)
    return torch.tensor(values).reshape(shape)


def line(name, values):
    values = torch.as_tensor(values).reshape(-1).tolist()
    print(name, *("%.17g" % v for v in values))


def nt_xent(z, temperature):
    n = len(z) // 2
    z = F.normalize(z)
    scores = (z @ z.T / temperature).masked_fill(torch.eye(2 * n, dtype=torch.bool), -math.inf)
    return F.cross_entropy(scores, (torch.arange(2 * n) + n) % (2 * n))


def bound(kind, s):
    n = len(s)
    off = s[~torch.eye(n, dtype=torch.bool)]
    if kind == "dv":
        return s.diag().mean() - (off.logsumexp(0) - math.log(n * (n - 1)))
    if kind == "nwj":
        return s.diag().mean() - (off - 1).exp().mean()
    if kind == "jsd":
        return (math.log(2) - F.softplus(-s.diag())).mean() - (F.softplus(-off) + off - math.log(2)).mean()
    return (s.diag() - s.logsumexp(1)).mean() + math.log(n)


with open(sys.argv[1], "w") as sys.stdout:
    for temperature in (0.1, 0.5):
        z = lcg(1, 8, 5).requires_grad_()
        loss = nt_xent(z, temperature)
        loss.backward()
        line(f"ntxent.{temperature}.loss", loss)
        line(f"ntxent.{temperature}.norm", z.grad.norm())
        line(f"ntxent.{temperature}.d_z", z.grad)

    q, k, queue = (F.normalize(lcg(seed, n, 4)).requires_grad_() for seed, n in ((101, 3), (102, 3), (103, 6)))
    q.retain_grad()
    scores = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], 1) / 0.07
    loss = F.cross_entropy(scores, torch.zeros(3, dtype=torch.long))
    loss.backward()
    line("moco.loss", loss)
    line("moco.d_q", q.grad)

    image, text = (F.normalize(lcg(seed, 4, 5)).requires_grad_() for seed in (111, 112))
    image.retain_grad()
    scores = image @ text.T / 0.07
    loss = (F.cross_entropy(scores, torch.arange(4)) + F.cross_entropy(scores.T, torch.arange(4))) / 2
    loss.backward()
    line("clip.loss", loss)
    line("clip.d_image", image.grad)

    for kind in ("dv", "nwj", "jsd", "infonce"):
        s = (lcg(91, 6, 6) + 2 * torch.eye(6)).requires_grad_()
        value = bound(kind, s)
        value.backward()
        line(f"{kind}.value", value)
        line(f"{kind}.d_scores", s.grad)
