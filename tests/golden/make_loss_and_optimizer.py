"""Writes cross_entropy.txt and adamw.txt: what PyTorch computes for small inputs.

Lines are "name value value ...". All inputs are representable in float32, hyper-parameters too, so that the double runs
here and in the tests start from the same numbers. Run from this directory.
"""

import numpy as np
import torch
import torch.nn.functional as F


def f32(value):
    return float(np.float32(value))


def write(path, entries):
    with open(path, "w") as file:
        for name, values in entries:
            flat = torch.as_tensor(values, dtype=torch.float64).detach().flatten().tolist()
            file.write(name + "".join(f" {value:.17g}" for value in flat) + "\n")


def cross_entropy():
    generator = torch.Generator().manual_seed(1)
    rows, width, vocabulary = 6, 5, 11
    hidden = (2 * torch.randn(rows, width, generator=generator)).double().requires_grad_()
    weight = torch.randn(vocabulary, width, generator=generator).double().requires_grad_()
    targets = torch.tensor([3, -1, 10, 0, -1, 3])
    logits = hidden @ weight.T
    row_loss = F.cross_entropy(logits, targets, ignore_index=-1, reduction="none")
    loss = F.cross_entropy(logits, targets, ignore_index=-1, reduction="sum")
    loss.backward()
    write("cross_entropy.txt", [
        ("shape", [rows, width, vocabulary]), ("hidden", hidden), ("weight", weight), ("targets", targets),
        ("row_loss", row_loss), ("loss", [loss.item()]), ("d_hidden", hidden.grad), ("d_weight", weight.grad)])


def adamw_run(dtype, beta1, beta2, start, gradients, scales, rates):
    parameters = [torch.nn.Parameter(values.clone().to(dtype)) for values in start]
    decays = [f32(0.1), 0.0]
    rate_scales = [1.0, 0.5]
    groups = [{"params": [p], "weight_decay": decay} for p, decay in zip(parameters, decays)]
    optimizer = torch.optim.AdamW(groups, lr=1.0, betas=(f32(beta1), f32(beta2)), eps=f32(1e-8), foreach=False,
                                  fused=False)
    history = []
    for step_gradients, scale, rate in zip(gradients, scales, rates):
        for group, rate_scale in zip(optimizer.param_groups, rate_scales):
            group["lr"] = rate * rate_scale
        for parameter, gradient in zip(parameters, step_gradients):
            parameter.grad = gradient.to(dtype) * scale
        optimizer.step()
        states = [optimizer.state[p] for p in parameters]
        history.append([torch.cat(values).detach().clone() for values in (
            parameters, [s["exp_avg"] for s in states], [s["exp_avg_sq"] for s in states])])
    return history


def adamw():
    generator = torch.Generator().manual_seed(2)
    sizes, steps, clip = [7, 5], 5, 1.0
    start = [torch.randn(n, generator=generator) for n in sizes]
    magnitudes = [3.0, 0.1, 0.5, 1e-3, 2.0]
    gradients = [[m * torch.randn(n, generator=generator) for n in sizes] for m in magnitudes]
    gradients[1][0][2] = 0.0
    scales = []
    for step_gradients in gradients:
        probes = [torch.nn.Parameter(torch.zeros_like(g)) for g in step_gradients]
        for probe, gradient in zip(probes, step_gradients):
            probe.grad = gradient.clone()
        norm = torch.nn.utils.clip_grad_norm_(probes, clip).item()
        scales.append(f32(min(1.0, clip / (norm + 1e-6))))
        clipped = torch.cat([p.grad for p in probes])
        assert torch.allclose(clipped, torch.cat(step_gradients) * scales[-1], rtol=1e-6)
    rates = [f32(rate) for rate in (0.01, 0.02, 0.03, 0.02, 0.005)]
    entries = [("sizes", sizes), ("clip", [clip]), ("start", torch.cat(start)), ("scales", scales), ("rates", rates)]
    entries += [(f"gradient{t + 1}", torch.cat(gradients[t])) for t in range(steps)]
    for beta1, beta2 in ((0.9, 0.95), (0.3, 0.999)):  # 1 - beta1 on both sides of a half, where lerp changes its form
        for name, dtype in (("f32", torch.float32), ("f64", torch.float64)):
            history = adamw_run(dtype, beta1, beta2, start, gradients, scales, rates)
            for t, values in enumerate(history):
                for what, value in zip(("master", "exp_avg", "exp_avg_sq"), values):
                    entries.append((f"{name}_beta{beta1}_{what}{t + 1}", value))
    write("adamw.txt", entries)


torch.set_num_threads(1)
cross_entropy()
adamw()
