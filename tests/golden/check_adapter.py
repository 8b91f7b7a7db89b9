#!/usr/bin/env python3
"""Does PEFT load an adapter folder of ours as it is, and compute what we compute?

Usage: check_adapter.py TSUGI ADAPTER TOKENS.bin   (run by hand; needs torch, transformers and peft)
ADAPTER: a checkpoint folder that `tsugi finetune --task language-modelling --lora-rank N` wrote. Compares the mean loss
of `tsugi evaluate`, which merges, with that of PEFT beside the weights and after its own merge.
"""
import json, struct, subprocess, sys

import numpy, peft, torch

tsugi, folder, tokens_file = sys.argv[1:4]
model = peft.AutoPeftModelForCausalLM.from_pretrained(folder).eval()
context = model.config.max_position_embeddings
with open(tokens_file, "rb") as file:
    header = file.read(64)
    assert header[:8] == b"TSUGITOK"
    width = struct.unpack("<I", header[12:16])[0]
tokens = numpy.fromfile(tokens_file, dtype=numpy.uint16 if width == 2 else numpy.uint32, offset=64).astype(numpy.int64)
sequences = min((len(tokens) - 1) // context, 100)


def loss(net):
    total = 0.0
    with torch.no_grad():
        for index in range(sequences):
            window = torch.tensor(tokens[index * context:(index + 1) * context + 1])[None]
            logits = net(input_ids=window[:, :-1]).logits
            total += torch.nn.functional.cross_entropy(logits[0], window[0, 1:], reduction="sum").double().item()
    return total / (sequences * context)


ours = json.loads(subprocess.check_output([tsugi, "evaluate", "--checkpoint", folder, "--tokens", tokens_file,
                                           "--sequences", str(sequences), "--json"]))["loss"]
with model.disable_adapter():
    base = loss(model)
beside, merged = loss(model), loss(model.merge_and_unload())
print("without the adapter", base, "ours", ours, "PEFT beside", beside, "PEFT merged", merged)
assert abs(ours - beside) < 1e-5 and abs(ours - merged) < 1e-5 and abs(ours - base) > 1e-3
