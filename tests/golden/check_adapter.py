#!/usr/bin/env python3
"""Does PEFT load an adapter folder of ours as it is, and compute what we compute?

    check_adapter.py TSUGI ADAPTER TOKENS.bin
    check_adapter.py TSUGI [--seed N]

ADAPTER: a checkpoint folder that `tsugi finetune --task language-modelling --lora-rank N` wrote. Compares the mean loss
of `tsugi evaluate`, which merges, with that of PEFT beside the weights and after its own merge. Without one, models of
several shapes are made by `tsugi pretrain` from random weights, and an adapter of another rank for each.
Run by hand; needs torch, transformers and peft.
"""
import argparse
import json
import pathlib
import random
import struct
import subprocess
import tempfile

import numpy
import peft
import torch

MODELS = ["family: GPT2 heads: 2", "family: GPT2 heads: 2 tied: false", "family: LLAMA heads: 4 key_heads: 2",
          "family: LLAMA heads: 4 key_heads: 1 tied: true", "family: QWEN3 heads: 4 key_heads: 2 head_dim: 12",
          "family: QWEN2 heads: 4 key_heads: 4 tied: false"]
CONFIG = """name: "tiny"
steps: 2
seed: {seed}
model {{ layers: 2 width: 32 context: 32 init_deviation: 0.1 {model} }}
data {{ train: "data" }}
batch {{ micro_batch: 1 micro_batches: 4 }}
optimizer {{ learning_rate: 3e-3 }}
schedule {{ warmup_steps: 1 }}
checkpoint {{ every_steps: 2 }}
dist {{ threads: 1 }}
"""


def read_tokens(path):
    with open(path, "rb") as file:
        header = file.read(64)
    assert header[:8] == b"TSUGITOK"
    width = struct.unpack("<I", header[12:16])[0]
    return numpy.fromfile(path, dtype=numpy.uint16 if width == 2 else numpy.uint32, offset=64).astype(numpy.int64)


def check(tsugi, folder, tokens_file):
    model = peft.AutoPeftModelForCausalLM.from_pretrained(folder).eval()
    context = model.config.max_position_embeddings
    tokens = read_tokens(tokens_file)
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


def check_random(tsugi, seed, folder):
    def run(*arguments):
        subprocess.run([tsugi, *map(str, arguments), "--json"], cwd=folder, check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)

    rng = random.Random(seed)
    (folder / "text").mkdir()
    for number in range(40):
        words = [f"{rng.choice('the a one every'.split())} {rng.choice('fox dog cat'.split())} {rng.randrange(100)}"
                 for _ in range(60)]
        (folder / "text" / f"{number}.txt").write_text(", ".join(words) + "\n")
    run("prepare", "--text", "text", "--out", "data", "--vocabulary", "characters")
    for index, model in enumerate(MODELS):
        (folder / "config").write_text(CONFIG.format(seed=seed + index, model=model))
        run("pretrain", "--config", "config", "--out", f"run{index}")
        rank = rng.randrange(1, 5)
        run("finetune", "--task", "language-modelling", "--checkpoint", f"run{index}", "--train", "data", "--lora-rank", rank,
            "--learning-rate", "2e-2", "--epochs", "0.5", "--threads", "1", "--seed", seed + index, "--out", f"adapter{index}")
        print(f"{model}, rank {rank}:", end=" ", flush=True)
        newest = sorted((folder / f"adapter{index}" / "checkpoints").iterdir())[-1]
        check(tsugi, str(newest), str(folder / "data" / "validation.bin"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tsugi", type=lambda path: str(pathlib.Path(path).resolve()))
    parser.add_argument("adapter", nargs="?")
    parser.add_argument("tokens", nargs="?")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.adapter is not None:
        return check(arguments.tsugi, arguments.adapter, arguments.tokens)
    with tempfile.TemporaryDirectory() as folder:
        check_random(arguments.tsugi, arguments.seed, pathlib.Path(folder))


main()
