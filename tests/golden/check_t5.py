#!/usr/bin/env python3
"""Do transformers and tsugi compute the same of each other's T5 models? Random tiny ones, other ones with every seed.

Usage: check_t5.py TSUGI [SEED] [--models N]   (run by hand; needs torch, transformers, safetensors, tokenizers)

For each: transformers writes a folder (version 1.0 or 1.1); `tsugi evaluate --logits` must give its logits (fp32, within
1e-4) for inputs and targets of several lengths, `tsugi generate` its greedy answers; `tsugi import` and `tsugi export` must
give back the bytes of every tensor, and transformers must compute the same of the export. Then tsugi trains models of both
versions for three steps, and transformers must load them and agree.
"""
import argparse, json, os, random, subprocess, tempfile, time

import numpy, torch, transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

parser = argparse.ArgumentParser()
parser.add_argument("tsugi")
parser.add_argument("seed", nargs="?", type=int, default=int(time.time()))
parser.add_argument("--models", type=int, default=10)
arguments = parser.parse_args()
tsugi = os.path.abspath(arguments.tsugi)
rng = random.Random(arguments.seed)
print("seed", arguments.seed)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
SPECIAL = ["<pad>", "</s>"]
PAIRS = [("to be", "or not"), ("a", "that is the question: whether"), ("or not to be that is", "t"), ("tis nobler in the mind " * 8, "to suffer " * 9)]


def run(*command):
    result = subprocess.run([tsugi, *map(str, command)], capture_output=True, text=True)
    assert result.returncode == 0, f"{command}: {result.stderr}"
    return json.loads(result.stdout) if result.stdout.startswith("{") else None


def random_config():
    heads = rng.choice([1, 2, 4])
    newer = rng.random() < 0.5
    more = dict(feed_forward_proj="gated-gelu", tie_word_embeddings=False) if newer else {}
    return transformers.T5Config(vocab_size=rng.choice([260, 301]), d_model=rng.choice([16, 24, 40]), d_kv=rng.choice([4, 8, 10]),
                                 d_ff=rng.choice([24, 56]), num_layers=rng.randint(1, 3), num_decoder_layers=rng.randint(1, 3),
                                 num_heads=heads, relative_attention_num_buckets=rng.choice([8, 32]),
                                 relative_attention_max_distance=rng.choice([20, 128]), decoder_start_token_id=0, **more)


def write_tokenizer(folder, config):
    tokens = (SPECIAL + sorted(pre_tokenizers.ByteLevel.alphabet()))[:config.vocab_size]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=[]))
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(os.path.join(folder, "tokenizer.json"))


def load(folder):
    return transformers.T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def compare(folder, name):
    model = load(folder)
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    pairs = rng.sample(PAIRS, 3)
    with open(folder + ".jsonl", "w") as file:
        for prompt, response in pairs:
            file.write(json.dumps({"prompt": prompt, "response": response}) + "\n")
    ours = run("evaluate", "--checkpoint", folder, "--instructions", folder + ".jsonl", "--logits", folder + ".logits", "--json")
    got = torch.from_numpy(numpy.fromfile(folder + ".logits", dtype=numpy.float32)).reshape(-1, model.config.vocab_size)
    place, worst, losses = 0, 0.0, []
    for prompt, response in pairs:
        ids, labels = tokenizer.encode(prompt).ids + [1], tokenizer.encode(response).ids + [1]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([[0] + labels[:-1]])).logits[0]
        worst = max(worst, float((got[place:place + len(labels)] - logits).abs().max()))
        losses.append(torch.nn.functional.cross_entropy(logits.double(), torch.tensor(labels), reduction="none"))
        place += len(labels)
        with torch.no_grad():
            text = [0]
            for _ in range(6):
                text.append(int(model(input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([text])).logits[0, -1].argmax()))
        said = run("generate", "--checkpoint", folder, "--prompt", prompt, "--tokens", 6, "--temperature", 0, "--ignore-end", "--json")
        assert said["ids"] == text[1:], (said, text)
    loss = float(torch.cat(losses).mean())
    print(f"{name:36s} logits {worst:.1e}  loss {abs(ours['loss'] - loss):.1e}")
    assert place == len(got) and worst <= 1e-4 and abs(ours["loss"] - loss) < 1e-5, folder


def tensors(path):
    return {k: v for f in os.listdir(path) if f.endswith(".safetensors") for k, v in load_file(os.path.join(path, f)).items()}


def check_theirs(index, folder):
    config = random_config()
    torch.manual_seed(arguments.seed + index)
    model = transformers.T5ForConditionalGeneration(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.2 if parameter.dim() == 1 else parameter.shape[-1] ** -0.5))
            if "norm" in name:
                parameter.add_(1.0)
    dtype = rng.choice([torch.float32, torch.float32, torch.bfloat16])
    model.to(dtype).save_pretrained(folder, max_shard_size=rng.choice(["5GB", "20KB"]))
    write_tokenizer(folder, config)
    untied = not config.scale_decoder_outputs and rng.random() < 0.7
    if untied:  # as published 1.1 folders are: transformers 5 ties whatever it makes itself
        all = tensors(folder)
        all["lm_head.weight"] = torch.randn_like(all["shared.weight"].float()).to(dtype) * config.d_model ** -0.5
        for file in os.listdir(folder):
            if "safetensors" in file:
                os.remove(os.path.join(folder, file))
        save_file(all, os.path.join(folder, "model.safetensors"), {"format": "pt"})
        said = json.load(open(os.path.join(folder, "config.json")))
        said["tie_word_embeddings"] = False
        json.dump(said, open(os.path.join(folder, "config.json"), "w"))
    name = f"{config.feed_forward_proj} {'untied' if untied else 'tied'} {str(dtype)[6:]}"
    run("import", "--from", folder, "--out", folder + "-in", "--json")
    run("export", "--checkpoint", folder + "-in", "--out", folder + "-out", "--max-shard-bytes", 30000, "--json")
    before, after = tensors(folder), tensors(folder + "-out")
    assert before.keys() == after.keys(), before.keys() ^ after.keys()
    assert all_equal(before, after), "tensors changed"
    compare(folder, name)
    compare(folder + "-out", name + " exported")


def all_equal(before, after):
    return all(before[k].dtype == after[k].dtype and torch.equal(before[k], after[k]) for k in before)


def check_ours(version, folder):
    data = folder + ".bin"
    numpy.array([4 + (i * i + 3 * i) % 60 for i in range(4000)], dtype=numpy.uint16).tofile(data)
    special = "activation: GATED_GELU tied: false" if version == "1.1" else ""
    with open(folder + ".textproto", "w") as file:
        file.write(f"""steps: 3 seed: {rng.randrange(10**6)} objective {{ span_corruption {{ first_sentinel: 259 end_token: 1 }} }}
            model {{ family: T5 layers: 2 heads: 4 width: 32 context: 512 vocabulary: 260 {special} }}
            data {{ train: "{data}" }} batch {{ micro_batch: 2 micro_batches: 2 sequence: 48 }} optimizer {{ learning_rate: 1e-2 }}
            numerics {{ compute: {rng.choice(["FP32", "BF16"])} }} evaluation {{ sequences: 2 }}""")
    run("pretrain", "--config", folder + ".textproto", "--out", folder, "--json")
    run("export", "--checkpoint", folder, "--out", folder + "-out", "--json")
    write_tokenizer(folder + "-out", transformers.AutoConfig.from_pretrained(folder + "-out"))
    compare(folder + "-out", f"ours: {version}")


with tempfile.TemporaryDirectory() as work:
    for index in range(arguments.models):
        check_theirs(index, os.path.join(work, f"theirs-{index}"))
    for version in ["1.0", "1.1"]:
        check_ours(version, os.path.join(work, f"ours-{version}"))
print("all equal")
