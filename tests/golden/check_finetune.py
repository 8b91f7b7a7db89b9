#!/usr/bin/env python3
"""From a checkpoint of transformers: do continued pretraining and supervised fine-tuning on real text improve it, and does
transformers compute our response-only loss?

Usage: check_finetune.py TSUGI HANDBOOK REVIEWS WORK   (run by hand; needs torch and transformers; minutes on two cores)
HANDBOOK: what `launch/corpus.sh en-US DIR` wrote. REVIEWS: a folder of files *_labelled.tsv, lines "SENTENCE<tab>0 or 1" (the
sentiment sentences of Kotzias et al., KDD 2015). WORK: a folder to work in; what is there already is not made again.

A small Llama is trained on the handbook, loaded and saved by transformers, and read from that folder. Then, each against
that untouched model and on text that neither training has seen: (a) continued pretraining on reviews, with and without a
mixture with the handbook, (b) fine-tuning on "which feeling does this review have?", of all weights and of adapters.
"""
import json, os, random, shutil, subprocess, sys

import torch, transformers

tsugi, handbook, reviews, work = sys.argv[1:5]
os.makedirs(work, exist_ok=True)
path = lambda *names: os.path.join(work, *names)


def run(*arguments):
    print("$ tsugi", *arguments, flush=True)
    return subprocess.check_output([tsugi, *arguments], text=True)


def once(result, *arguments):
    if not os.path.exists(result):
        run(*arguments)


# The model: trained on the handbook, then through transformers.
once(path("tokenizer"), "tokenizer", "train", "--text", os.path.join(handbook, "train"), "--out", path("tokenizer"),
     "--vocabulary", "2048")
once(path("handbook", "summary.json"), "prepare", "--text", os.path.join(handbook, "train"), "--validation-text",
     os.path.join(handbook, "validation"), "--form-feed", "--tokenizer", path("tokenizer"), "--append-eot", "--out",
     path("handbook"))
recipe = """name: "base"
model { family: LLAMA layers: 4 heads: 4 key_heads: 2 width: 128 context: 128 }
data { DATA }
batch { micro_batch: 4 micro_batches: 4 }
steps: STEPS
optimizer { learning_rate: RATE beta2: 0.99 }
schedule { warmup_steps: 20 final_fraction: 0.1 }
evaluation { every_steps: 0 }
"""


def write_recipe(name, data, steps, rate):
    with open(path(name), "w") as file:
        file.write(recipe.replace("DATA", data).replace("STEPS", str(steps)).replace("RATE", str(rate)))
    return path(name)


config = write_recipe("base.textproto", f'train: "{path("handbook")}"', 300, 3e-3)
run("pretrain", "--config", config, "--out", path("base"), "--json")
for name in ("exported", "theirs", "untouched"):
    shutil.rmtree(path(name), ignore_errors=True)
run("export", "--checkpoint", path("base"), "--out", path("exported"))
model = transformers.AutoModelForCausalLM.from_pretrained(path("exported"))
model.save_pretrained(path("theirs"))
transformers.AutoTokenizer.from_pretrained(path("exported")).save_pretrained(path("theirs"))
run("import", "--from", path("theirs"), "--out", path("untouched"))

# The reviews: every tenth is held out.
random.seed(5)
texts = []
for name in sorted(os.listdir(reviews)):
    if name.endswith("_labelled.tsv"):
        with open(os.path.join(reviews, name), encoding="utf-8", newline="\n") as file:
            texts += [line.rstrip("\n").rsplit("\t", 1) for line in file if "\t" in line]
texts = [(text.strip(), label.strip()) for text, label in texts if text.strip()]
random.shuffle(texts)
sides = {"validation": texts[::10], "train": [one for i, one in enumerate(texts) if i % 10]}
for side, some in sides.items():
    with open(path(side + ".jsonl"), "w") as file:
        for text, label in some:
            file.write(json.dumps({"prompt": text, "response": " good" if label == "1" else " bad"}) + "\n")
    with open(path(side + "_text.jsonl"), "w") as file:
        for text, _ in some:
            file.write(json.dumps({"text": text}) + "\n")
shutil.rmtree(path("reviews"), ignore_errors=True)
run("prepare", "--text", path("train_text.jsonl"), "--validation-text", path("validation_text.jsonl"), "--field", "text",
    "--tokenizer", path("untouched"), "--append-eot", "--out", path("reviews"))


def loss_on(folder, tokens):
    return json.loads(run("evaluate", "--checkpoint", folder, "--tokens", tokens, "--json"))["loss"]


def clear(name):
    shutil.rmtree(path(name), ignore_errors=True)
    return path(name)


# (a) Continued pretraining, on reviews alone and mixed with what the model knows.
held = {"reviews": path("reviews", "validation.bin"), "handbook": path("handbook", "validation.bin")}
losses = {"untouched": {name: loss_on(path("untouched"), tokens) for name, tokens in held.items()}}
sources = {"continued": f'train: "{path("reviews")}"',
           "mixture": f'mixture {{ path: "{path("reviews")}" weight: 0.5 }} mixture {{ path: "{path("handbook")}" weight: 0.5 }}'}
for name, data in sources.items():
    run("pretrain", "--config", write_recipe(name + ".textproto", data, 60, 1e-3), "--init-from", path("untouched"),
        "--out", clear(name), "--json")
    losses[name] = {on: loss_on(path(name), tokens) for on, tokens in held.items()}
scratch = write_recipe("scratch.textproto", sources["continued"], 60, 3e-3)
run("pretrain", "--config", scratch, "--out", clear("scratch"), "--json")
losses["scratch"] = {on: loss_on(path("scratch"), tokens) for on, tokens in held.items()}
print(json.dumps(losses, indent=1))
assert losses["continued"]["reviews"] < losses["untouched"]["reviews"] - 0.5
assert losses["continued"]["reviews"] < losses["scratch"]["reviews"] - 0.1, "nothing came from the handbook"
assert losses["mixture"]["reviews"] < losses["untouched"]["reviews"] - 0.4
assert losses["mixture"]["handbook"] < losses["continued"]["handbook"], "a mixture forgets less"

# (b) Supervised fine-tuning.
TEMPLATE = "Review: {prompt}\nFeeling:"


def response_loss(folder):
    """By transformers and its tokenizer: the mean over the tokens of the responses and of the ends of text."""
    net = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    total, count, right = 0.0, 0, 0
    for line in open(path("validation.jsonl")):
        example = json.loads(line)
        prompt = tokenizer.encode(TEMPLATE.replace("{prompt}", example["prompt"]))
        response = tokenizer.encode(example["response"], add_special_tokens=False) + [end]
        ids = torch.tensor((prompt + response)[:net.config.max_position_embeddings + 1])
        if len(ids) <= len(prompt):
            continue
        labels = ids.clone()
        labels[:len(prompt)] = -100
        with torch.no_grad():
            logits = net(input_ids=ids[None, :-1]).logits[0]
        total += torch.nn.functional.cross_entropy(logits, labels[1:], ignore_index=-100, reduction="sum").double().item()
        count += len(ids) - len(prompt)
        right += int(logits[len(prompt) - 1].argmax() == ids[len(prompt)])
    return total / count, count, right / len(sides["validation"])


tuned = {"all weights": ("all", ["--epochs", "3", "--learning-rate", "1e-3", "--packed"]),
         "adapters": ("adapters", ["--epochs", "3", "--learning-rate", "4e-3", "--lora-rank", "8", "--packed"]),
         "a row each": ("rows", ["--epochs", "1", "--learning-rate", "5e-4"])}
results = {}
for name, (folder, options) in tuned.items():
    ours = json.loads(run("finetune", "--checkpoint", path("untouched"), "--task", "instructions", "--train",
                          path("train.jsonl"), "--validation", path("validation.jsonl"), "--prompt-template", TEMPLATE,
                          *options, "--out", clear(folder), "--json"))
    run("export", "--checkpoint", path(folder), "--out", clear(folder + "_exported"))
    evaluated = json.loads(run("evaluate", "--checkpoint", path(folder + "_exported"), "--instructions",
                               path("validation.jsonl"), "--prompt-template", TEMPLATE, "--json"))
    before, scored, _ = response_loss(path("untouched"))
    after, _, accuracy = response_loss(path(folder + "_exported"))
    results[name] = {"before": before, "ours before": ours["first_validation_loss"], "after": after,
                     "ours after": ours["validation_loss"], "ours evaluated": evaluated["loss"], "scored tokens": scored,
                     "first word right": accuracy}
    print(json.dumps({name: results[name]}, indent=1), flush=True)
    assert scored == evaluated["tokens"] == ours["validation"]["scored_tokens"]
    assert abs(before - ours["first_validation_loss"]) < 1e-4
    assert abs(after - ours["validation_loss"]) < 1e-4 and abs(after - evaluated["loss"]) < 1e-4
    assert after < before / 4
print("equal to 1e-4")
