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

    # Khosla et al. 2020, equation 2, as it stands there.
    z = F.normalize(lcg(121, 8, 5)).requires_grad_()
    classes = torch.tensor([0, 1, 0, 2, 0, 1, 0, 2])
    logits = z @ z.T / 0.1
    others = ~torch.eye(8, dtype=torch.bool)
    loss = torch.zeros(())
    for i in range(8):
        positives = [p for p in range(8) if p != i and classes[p] == classes[i]]
        log_sum = logits[i][others[i]].logsumexp(0)
        loss = loss - sum(logits[i, p] - log_sum for p in positives) / len(positives)
    loss.backward()
    line("supcon.loss", loss / 8)
    line("supcon.d_z", z.grad / 8)

    # Row i and row i + 4 are of one image; all rows of others are negatives.
    for name in ("margin", "logistic"):
        x = lcg(131, 8, 5).requires_grad_()
        z = F.normalize(x)
        loss = torch.zeros(())
        for i in range(8):
            p = (i + 4) % 8
            for n in set(range(8)) - {i, p}:
                if name == "margin":
                    d = ((z[i] - z[p]) ** 2).sum() - ((z[i] - z[n]) ** 2).sum()
                    loss = loss + F.relu(0.2 + d) / 6
                else:
                    loss = loss + F.softplus((z[i] @ z[n] - z[i] @ z[p]) / 0.1) / 6
        loss.backward()
        line(f"triplet.{name}.loss", loss / 8)
        line(f"triplet.{name}.d_x", x.grad / 8)

    for kind in ("dv", "nwj", "jsd", "infonce"):
        s = (lcg(91, 6, 6) + 2 * torch.eye(6)).requires_grad_()
        value = bound(kind, s)
        value.backward()
        line(f"{kind}.value", value)
        line(f"{kind}.d_scores", s.grad)

    # Three wholes and the six parts of each, as cortex_DIM's infonce_loss and fenchel_dual_loss have them: a part of its own
    # against all parts of others. With Bachman et al.'s clip and penalty, too.
    for name, clip, penalty in (("jsd", 0, 0), ("nce", 0, 0), ("amdim", 2, 0.05)):
        wholes = lcg(141, 3, 5).requires_grad_()
        parts = lcg(142, 3, 6, 5).requires_grad_()
        products = torch.einsum("id,jpd->ijp", wholes, parts) / math.sqrt(5)
        u = clip * torch.tanh(products / clip) if clip else products
        own = torch.eye(3, dtype=torch.bool)
        positives = u[own]  # [3, 6]
        negatives = u[~own].reshape(3, 12)
        if name == "jsd":
            loss = (F.softplus(-positives) - math.log(2)).mean() + (F.softplus(negatives) - math.log(2)).mean()
        else:
            logits = torch.cat([positives.unsqueeze(2), negatives.unsqueeze(1).expand(-1, 6, -1)], 2)
            loss = -logits.log_softmax(2)[:, :, 0].mean()
        loss = loss + penalty * (products**2).mean()
        loss.backward()
        line(f"parts.{name}.loss", loss)
        line(f"parts.{name}.d_wholes", wholes.grad)
        line(f"parts.{name}.d_parts", parts.grad)
