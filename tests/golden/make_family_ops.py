"""Writes family_ops.txt: what PyTorch and transformers compute, in float64, for the operators of modern families:
RMSNorm, rotary positions (with the scalings of the Hub's checkpoints) behind a norm per head, activations, gated
activations, and the loss with soft cap, z-loss and label smoothing; all with gradients.

Lines are "name value value ...". All inputs are representable in float32. Run from this directory.
"""

import torch
import torch.nn.functional as F
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(7)
entries = []


def draw(*shape):
    return torch.randn(*shape, generator=generator).double().requires_grad_()


def leaf_gradients(**leaves):
    return [(f"{name.replace('__', '.d_')}", leaf.grad) for name, leaf in leaves.items()]


x, gamma, d_normed = draw(4, 7), draw(7), draw(4, 7)
normed = F.rms_norm(x, (7,), gamma, eps=2.0**-17)
normed.backward(d_normed)
entries += [("rms.x", x), ("rms.gamma", gamma), ("rms.d_normed", d_normed), ("rms.normed", normed)]
entries += leaf_gradients(rms__x=x, rms__gamma=gamma)

SCALINGS = {
    "default": {"rope_type": "default"},
    "linear": {"rope_type": "linear", "factor": 2.5},
    "llama3": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 512},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048},
}
for name, scaling in SCALINGS.items():
    config = LlamaConfig(hidden_size=256, num_attention_heads=4, max_position_embeddings=4096,
                         rope_parameters={"rope_theta": 10000.0, **scaling})
    if name == "default":
        frequencies, factor = 1.0 / (10000.0 ** (torch.arange(0, 64, 2, dtype=torch.int64).float() / 64)), 1.0
    else:
        frequencies, factor = ROPE_INIT_FUNCTIONS[name](config, "cpu")
    entries += [(f"rotary.{name}.frequencies", frequencies), (f"rotary.{name}.attention_factor", torch.tensor([factor]))]

# Qwen3's order: norm of each head, then rotation by apply_rotary_pos_emb. [B, heads, T, head_dim].
query, key = draw(1, 2, 3, 8), draw(1, 1, 3, 8)
query_gamma, key_gamma = draw(8), draw(8)
positions = torch.tensor([5, 0, 1000])
angles = positions[:, None].double() * (1.0 / 10000.0 ** (torch.arange(0, 8, 2).double() / 8))[None, :]
cosines, sines = (torch.cat([f(angles)] * 2, dim=-1)[None] for f in (torch.cos, torch.sin))
turned = apply_rotary_pos_emb(F.rms_norm(query, (8,), query_gamma, eps=2.0**-17),
                              F.rms_norm(key, (8,), key_gamma, eps=2.0**-17), cosines, sines)
d_turned = [draw(*t.shape) for t in turned]
torch.autograd.backward(turned, d_turned)
entries += [("rotary.query", query), ("rotary.key", key), ("rotary.query_gamma", query_gamma),
            ("rotary.key_gamma", key_gamma), ("rotary.positions", positions), ("rotary.query_out", turned[0]),
            ("rotary.key_out", turned[1]), ("rotary.d_query_out", d_turned[0]), ("rotary.d_key_out", d_turned[1])]
entries += leaf_gradients(rotary__query=query, rotary__key=key, rotary__query_gamma=query_gamma,
                          rotary__key_gamma=key_gamma)

ACTIVATIONS = {"gelu": lambda x: F.gelu(x, approximate="tanh"), "gelu_erf": F.gelu, "silu": F.silu, "relu": F.relu,
               "relu_squared": lambda x: F.relu(x) ** 2, "tanh": torch.tanh}
points = [-20.0, -6.0, -3.0, -1.0, -0.5, -0.0625, 0.0625, 0.5, 1.0, 3.0, 6.0, 20.0]
entries.append(("activation.x", torch.tensor(points)))
for name, function in ACTIVATIONS.items():
    x = torch.tensor(points).double().requires_grad_()
    y = function(x)
    y.backward(torch.full_like(y, 1.5))
    entries += [(f"activation.{name}", y), (f"activation.{name}.d_x_for_1.5", x.grad)]
gate_up, d_out = draw(3, 10), draw(3, 5)
gate, up = gate_up.chunk(2, dim=-1)
out = F.silu(gate) * up
out.backward(d_out)
entries += [("swiglu.gate_up", gate_up), ("swiglu.d_out", d_out), ("swiglu.out", out), ("swiglu.d_gate_up", gate_up.grad)]

rows, width, vocabulary, cap, z, smoothing = 6, 5, 11, 4.0, 0.0078125, 0.125
hidden = (2 * torch.randn(rows, width, generator=generator)).double().requires_grad_()
weight = draw(vocabulary, width)
targets = torch.tensor([3, -1, 10, 0, -1, 3])
logits = cap * torch.tanh(hidden @ weight.T / cap)
nll = F.cross_entropy(logits, targets, ignore_index=-1, reduction="sum")
smoothed = F.cross_entropy(logits, targets, ignore_index=-1, reduction="sum", label_smoothing=smoothing)
z_loss = z * (logits.logsumexp(-1)[targets >= 0] ** 2).sum()
(smoothed + z_loss).backward()
entries += [("loss.shape", torch.tensor([rows, width, vocabulary])), ("loss.hidden", hidden), ("loss.weight", weight),
            ("loss.targets", targets), ("loss.nll", nll[None]), ("loss.smoothed", smoothed[None]),
            ("loss.z_loss", z_loss[None])]
entries += leaf_gradients(loss__hidden=hidden, loss__weight=weight)

with open("family_ops.txt", "w") as file:
    for name, values in entries:
        flat = values.detach().double().flatten().tolist()
        file.write(name + "".join(f" {value:.17g}" for value in flat) + "\n")
