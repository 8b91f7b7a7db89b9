"""Writes bottleneck.txt: a bottleneck adapter (Houlsby et al. 2019) behind a projection, its output and its gradients, by
PyTorch in double precision. Lines of "name values…".

python tests/golden/make_bottleneck.py > tests/golden/bottleneck.txt
"""
import torch

ROWS, WIDTH, HIDDEN = 5, 6, 3


def values(count, phase):
    """Deterministic values in [-1, 1]: the test makes the same."""
    return torch.sin(1.7 * torch.arange(count, dtype=torch.float64) + phase)


x = values(ROWS * WIDTH, 0.0).reshape(ROWS, WIDTH).requires_grad_()
weight = values(WIDTH * WIDTH, 1.0).reshape(WIDTH, WIDTH)
down = torch.nn.Linear(WIDTH, HIDDEN, dtype=torch.float64)
up = torch.nn.Linear(HIDDEN, WIDTH, dtype=torch.float64)
with torch.no_grad():
    for parameter, phase in ((down.weight, 2.0), (down.bias, 3.0), (up.weight, 4.0), (up.bias, 5.0)):
        parameter.copy_(values(parameter.numel(), phase).reshape(parameter.shape))
branch = x @ weight.T
y = branch + up(torch.nn.functional.gelu(down(branch), approximate="tanh"))
(y * values(ROWS * WIDTH, 6.0).reshape(ROWS, WIDTH)).sum().backward()

for name, tensor in (("y", y), ("d_x", x.grad), ("d_down", down.weight.grad), ("d_down_bias", down.bias.grad),
                     ("d_up", up.weight.grad), ("d_up_bias", up.bias.grad)):
    print(name, *(f"{value:.17g}" for value in tensor.detach().flatten().tolist()))
