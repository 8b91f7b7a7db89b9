"""Golden values of a whole model: a tiny seeded GPT-2 of Hugging Face transformers, computed in float64.

Writes gpt2_tiny.safetensors: initial weights under their names, tokens and targets (I32, -1 is ignored), logits, the mean
loss over valid targets, the gradient of that mean for every parameter ("gradient/NAME"), the losses of five AdamW steps
on the same batch, and the weights after them ("after/NAME"). The gradient of the key bias is zero in exact arithmetic.
Needs torch, transformers, safetensors. Run: python make_gpt2_tiny.py
"""
import os

import torch
import transformers
from safetensors.torch import save_file

torch.manual_seed(20261122)
config = transformers.GPT2Config(vocab_size=61, n_positions=16, n_embd=32, n_layer=2, n_head=2, activation_function="gelu_new",
                                 resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, attn_implementation="eager", use_cache=False)
model = transformers.GPT2LMHeadModel(config).double()
with torch.no_grad():  # far from the published initialisation, so that no term is negligible; exact in float32
    for name, parameter in model.named_parameters():
        scale = 0.3 if parameter.dim() == 1 else 0.15
        value = torch.randn_like(parameter) * scale
        if ".ln_" in name and name.endswith("weight"):
            value += 1.0
        parameter.copy_(value.float().double())

tokens = torch.randint(0, 61, (3, 16))
targets = torch.randint(0, 61, (3, 16))
targets[0, 3] = targets[1, 15] = targets[2, 0] = -1
out = {"tokens": tokens.int(), "targets": targets.int()}
named = {name: p for name, p in model.named_parameters()}
out.update({name: p.detach().float().clone() for name, p in named.items()})


def loss_of():
    logits = model(input_ids=tokens).logits
    return logits, torch.nn.functional.cross_entropy(logits.reshape(-1, 61), targets.reshape(-1), ignore_index=-1)


logits, loss = loss_of()
loss.backward()
out["logits"] = logits.detach().float()
out["loss"] = loss.detach().float().reshape(1)
out.update({"gradient/" + name: p.grad.float().clone() for name, p in named.items()})

decayed = [p for p in named.values() if p.dim() == 2]
plain = [p for p in named.values() if p.dim() != 2]
optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}],
                              lr=1e-3, betas=(0.9, 0.95), eps=1e-8)
losses = []
for _ in range(5):
    optimizer.zero_grad()
    _, loss = loss_of()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    losses.append(loss.detach().float())
out["losses"] = torch.stack(losses)
out.update({"after/" + name: p.detach().float().clone() for name, p in named.items()})

path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "gpt2_tiny.safetensors")
save_file({name: tensor.contiguous() for name, tensor in out.items()}, path)
print(path, os.path.getsize(path), "bytes; losses", [round(float(x), 5) for x in losses])
