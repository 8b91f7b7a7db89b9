"""Golden values of a tiny seeded ViTForImageClassification of Hugging Face transformers, in float64.

Writes vit.safetensors and vit.json (config.json as transformers saves it): weights under their names, pixels, targets (I32),
logits, the mean loss and the gradient of that mean for every parameter ("gradient/NAME").
Needs torch, transformers, safetensors. Run: python make_vit.py
"""
import os
import tempfile

import torch
import transformers
from safetensors.torch import load_file, save_file

folder = os.path.dirname(os.path.abspath(__file__))
torch.manual_seed(20261122)
config = transformers.ViTConfig(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
                                image_size=12, patch_size=4, num_channels=3, num_labels=5, hidden_dropout_prob=0.0,
                                attention_probs_dropout_prob=0.0)
config._attn_implementation = "eager"
model = transformers.ViTForImageClassification(config).double()
with torch.no_grad():  # far from the published initialisation, so that no term is negligible; exact in float32
    for name, parameter in model.named_parameters():
        value = torch.randn_like(parameter) * (0.3 if parameter.dim() == 1 else 0.25)
        if "norm" in name and name.endswith("weight"):
            value += 1.0
        parameter.copy_(value.float().double())
pixels = (torch.rand(3, 3, 12, 12) * 2 - 1).float().double()
targets = torch.tensor([4, 0, 2])
logits = model(pixel_values=pixels).logits
loss = torch.nn.functional.cross_entropy(logits, targets)
loss.backward()
out = {"pixels": pixels.float(), "targets": targets.int(), "logits": logits.detach().float(),
       "loss": loss.detach().float().reshape(1)}


def saved(prefix):
    """The parameters under the names that files have, which are not those of the modules in transformers 5."""
    with tempfile.TemporaryDirectory() as there:
        model.save_pretrained(there)
        for name, tensor in load_file(os.path.join(there, "model.safetensors")).items():
            out[prefix + name] = tensor.float()


saved("")
with torch.no_grad():
    for parameter in model.parameters():
        parameter.copy_(parameter.grad)
saved("gradient/")
path = os.path.join(folder, "vit.safetensors")
save_file({key: tensor.contiguous().clone() for key, tensor in out.items()}, path)
config.architectures = ["ViTForImageClassification"]
with open(os.path.join(folder, "vit.json"), "w") as file:
    file.write(config.to_json_string())
print(os.path.getsize(path), "bytes; loss", float(loss))
