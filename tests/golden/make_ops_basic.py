"""Writes ops_basic.txt: layer_norm, GELU (tanh form) and addmm of PyTorch in float64, with their gradients.

Lines are "name value value ...". All inputs are representable in float32. Run from this directory.
"""

import torch
import torch.nn.functional as F

generator = torch.Generator().manual_seed(1)


def draw(*shape):
    return torch.randn(*shape, generator=generator).double().requires_grad_()


entries = []

x, gamma, beta = draw(4, 7), draw(7), draw(7)
d_normed = draw(4, 7)
normed = F.layer_norm(x, (7,), gamma, beta, eps=2.0**-17)
normed.backward(d_normed)
entries += [("norm.x", x), ("norm.gamma", gamma), ("norm.beta", beta), ("norm.d_normed", d_normed),
            ("norm.normed", normed), ("norm.d_x", x.grad), ("norm.d_gamma", gamma.grad), ("norm.d_beta", beta.grad)]

x = torch.tensor([-20.0, -6.0, -3.0, -1.0, -0.5, -0.0625, 0.0, 0.0625, 0.5, 1.0, 3.0, 6.0, 20.0]).double()
x.requires_grad_()
y = F.gelu(x, approximate="tanh")
y.backward(torch.full_like(y, 1.5))
entries += [("gelu.x", x), ("gelu.y", y), ("gelu.d_x_for_1.5", x.grad)]

a, b, bias = draw(5, 6), draw(6, 3), draw(3)
y = torch.addmm(bias, a, b)
d_y = draw(5, 3)
y.backward(d_y)
entries += [("addmm.a", a), ("addmm.b", b), ("addmm.bias", bias), ("addmm.y", y), ("addmm.d_y", d_y),
            ("addmm.d_a", a.grad), ("addmm.d_b", b.grad), ("addmm.d_bias", bias.grad)]

with open("ops_basic.txt", "w") as file:
    for name, values in entries:
        file.write(name + "".join(f" {value:.17g}" for value in values.detach().flatten().tolist()) + "\n")
