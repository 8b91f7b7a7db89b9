#!/usr/bin/env python3
"""Does transformers load a checkpoint folder of ours as it is, and compute what we compute?

Usage: check_checkpoint.py TSUGI CHECKPOINT TOKENS.bin   (run by hand; needs torch and transformers)
Compares the mean loss of `tsugi evaluate` with transformers' on the same windows, greedy continuation, and tokenizer ids.
"""
import json, struct, subprocess, sys

import numpy, torch, transformers

tsugi, folder, tokens_file = sys.argv[1:4]
model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
context = model.config.n_positions

with open(tokens_file, "rb") as file:
    header = file.read(64)
    assert header[:8] == b"TSUGITOK"
    width = struct.unpack("<I", header[12:16])[0]
tokens = numpy.fromfile(tokens_file, dtype=numpy.uint16 if width == 2 else numpy.uint32, offset=64).astype(numpy.int64)
sequences = min((len(tokens) - 1) // context, 200)
ours = json.loads(subprocess.check_output([tsugi, "evaluate", "--checkpoint", folder, "--tokens", tokens_file, "--sequences", str(sequences), "--json"]))
total = 0.0
with torch.no_grad():
    for index in range(sequences):
        window = torch.tensor(tokens[index * context:(index + 1) * context + 1])[None]
        logits = model(input_ids=window[:, :-1]).logits
        total += torch.nn.functional.cross_entropy(logits[0], window[0, 1:], reduction="sum").double().item()
theirs = total / (sequences * context)
print("loss ours", ours["loss"], "theirs", theirs)
assert abs(ours["loss"] - theirs) < 1e-5

prompt = tokenizer.decode(tokens[:20].tolist())
assert tokenizer(prompt)["input_ids"] == tokens[:20].tolist(), "tokenizer ids differ"
want = model.generate(torch.tensor(tokens[:20])[None], max_new_tokens=40, do_sample=False, pad_token_id=0)[0, 20:].tolist()
got = json.loads(subprocess.check_output([tsugi, "generate", "--checkpoint", folder, "--prompt", prompt, "--tokens", "40", "--temperature", "0", "--json"]))["ids"]
print("greedy ids equal:", got == want)
assert got == want
