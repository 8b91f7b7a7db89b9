#!/usr/bin/env python3
"""Do transformers and tsugi compute the same of each other's folders? Random tiny models, other ones with every seed.

Usage: check_families.py TSUGI [SEED] [--models N]   (run by hand; needs torch, transformers, safetensors, tokenizers)

For each model: transformers writes a folder; `tsugi evaluate --logits` must give its logits (fp32, within 1e-4) and
`tsugi generate` its greedy continuation, also of prompts of several lengths together (transformers.generate with padding on
the left); `tsugi import` and `tsugi export` must give back the bytes of every tensor and the same config;
transformers must load the export and compute what it did before. Then tsugi trains a model of each family from scratch
for three steps, and transformers must load that and agree on loss, logits and greedy continuation.
"""
import argparse, json, math, os, random, subprocess, tempfile, time

import numpy, torch, transformers
from safetensors.torch import load_file

parser = argparse.ArgumentParser()
parser.add_argument("tsugi")
parser.add_argument("seed", nargs="?", type=int, default=int(time.time()))
parser.add_argument("--models", type=int, default=24)
arguments = parser.parse_args()
tsugi = os.path.abspath(arguments.tsugi)
rng = random.Random(arguments.seed)
print("seed", arguments.seed)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def run(*command):
    result = subprocess.run([tsugi, *map(str, command)], capture_output=True, text=True)
    assert result.returncode == 0, f"{command}: {result.stderr}"
    return json.loads(result.stdout) if result.stdout.startswith("{") else None


def random_model():
    family = rng.choice(["gpt2", "llama", "llama", "mistral", "arcee", "qwen2", "qwen2", "qwen3", "qwen3"])
    heads = rng.choice([1, 2, 4, 6])
    head_dim = rng.choice([4, 8, 10, 16])
    layers = rng.randint(1, 4)
    context = rng.choice([24, 48, 80])
    vocabulary = rng.choice([50, 64, 131, 259])
    tied = rng.random() < 0.5
    if family == "gpt2":
        config = transformers.GPT2Config(vocab_size=vocabulary, n_positions=context, n_embd=heads * head_dim, n_layer=layers, n_head=heads,
                                         n_inner=rng.choice([None, 40]), activation_function=rng.choice(["gelu_new", "gelu", "relu2"]),
                                         layer_norm_epsilon=rng.choice([1e-5, 1e-6]), tie_word_embeddings=tied, bos_token_id=None, eos_token_id=None)
        return config
    key_heads = rng.choice([k for k in (1, 2, 3, 6) if heads % k == 0])
    theta = rng.choice([100.0, 10000.0, 500000.0, 1e6])
    rope = rng.choice([{"rope_type": "default"}, {"rope_type": "default"}, {"rope_type": "linear", "factor": rng.choice([2.0, 3.5])},
                       {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16},
                       {"rope_type": "yarn", "factor": rng.choice([2.0, 4.0, 6.5]), "original_max_position_embeddings": 16, "beta_fast": 8.0,
                        **rng.choice([{}, {"truncate": False}, {"attention_factor": 0.7}, {"mscale": 0.8, "mscale_all_dim": 1.3}])}])
    common = dict(vocab_size=vocabulary, hidden_size=heads * head_dim, intermediate_size=rng.choice([24, 56]), num_hidden_layers=layers,
                  num_attention_heads=heads, num_key_value_heads=key_heads, max_position_embeddings=context, tie_word_embeddings=tied,
                  rms_norm_eps=rng.choice([1e-5, 1e-6]), rope_parameters={**rope, "rope_theta": theta}, bos_token_id=None, eos_token_id=None)
    window = dict(use_sliding_window=rng.random() < 0.5, sliding_window=rng.randint(1, 12), max_window_layers=rng.randint(0, layers))
    if family == "llama":
        return transformers.LlamaConfig(**common, head_dim=rng.choice([None, 6, 12]), attention_bias=rng.random() < 0.3, mlp_bias=rng.random() < 0.3)
    if family == "arcee":
        return transformers.ArceeConfig(**common, attention_bias=rng.random() < 0.3, mlp_bias=rng.random() < 0.3)
    if family == "mistral":
        return transformers.MistralConfig(**common, sliding_window=rng.choice([None, 3, 9]), head_dim=rng.choice([None, 6]))
    if family == "qwen2":
        return transformers.Qwen2Config(**common, **window)
    return transformers.Qwen3Config(**common, **window, head_dim=rng.choice([4, 8, 12]), attention_bias=rng.random() < 0.3)


def write_tokenizer(folder, vocabulary):
    """Ids 0 … vocabulary-1 for single characters: what matters here is the model."""
    from tokenizers import Tokenizer, models, pre_tokenizers, decoders
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = (alphabet + [a + b for a in alphabet[:40] for b in alphabet[:10]])[:vocabulary]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(os.path.join(folder, "tokenizer.json"))


def write_tokens(path, tokens):
    numpy.array(tokens, dtype=numpy.uint16).tofile(path)  # nanoGPT's headerless form


def theirs(folder, tokens, new):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([tokens])).logits[0].float()
        greedy = list(tokens)
        for _ in range(new):  # without transformers' generate, whose defaults come from more files
            greedy.append(int(model(input_ids=torch.tensor([greedy])).logits[0, -1].argmax()))
    return model.config, logits, greedy[len(tokens):]


def with_defaults(config):
    """What transformers takes YaRN's absent fields for is written by us."""
    rope = config.get("rope_parameters") or {}
    if rope.get("rope_type") == "yarn":
        def scale(m):
            return 0.1 * m * math.log(rope["factor"]) + 1
        m, of_all = rope.pop("mscale", None), rope.pop("mscale_all_dim", None)
        if m and of_all:
            rope["attention_factor"] = scale(m) / scale(of_all)
        config["rope_parameters"] = {"beta_slow": 1.0, "truncate": True, **rope}
    return config


def compare(folder, name, expect=None):
    config = transformers.AutoConfig.from_pretrained(folder)
    vocabulary, context = config.vocab_size, config.max_position_embeddings
    length, new = context - 12, 10
    tokens = [rng.randrange(vocabulary) for _ in range(length)]
    _, logits, greedy = theirs(folder, tokens, new)
    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        write_tokens(file.name, tokens + [0])
        ours = run("evaluate", "--checkpoint", folder, "--tokens", file.name, "--sequence", length, "--logits", file.name + ".logits", "--json")
        got = torch.from_numpy(numpy.fromfile(file.name + ".logits", dtype=numpy.float32)).reshape(length, vocabulary)
        os.remove(file.name + ".logits")
    difference = float((got - logits).abs().max())
    ids = run("generate", "--checkpoint", folder, "--prompt-ids", ",".join(map(str, tokens)), "--tokens", new, "--temperature", 0, "--json")["ids"]
    # A tie within rounding may go either way.
    margin = 1e-4
    equal = ids == greedy
    if not equal:
        first = next(i for i in range(new) if ids[i] != greedy[i])
        _, other, _ = theirs(folder, tokens + greedy[:first], 0)
        equal = abs(float(other[-1, ids[first]] - other[-1, greedy[first]])) < margin
    loss = float(torch.nn.functional.cross_entropy(logits[:-1].double(), torch.tensor(tokens[1:]), reduction="sum") +
                 torch.nn.functional.cross_entropy(logits[-1:].double(), torch.tensor([0]), reduction="sum")) / length
    print(f"{name:34s} logits {difference:.1e}  loss {abs(ours['loss'] - loss):.1e}  greedy {'equal' if equal else 'DIFFERENT'}")
    assert difference <= 1e-4 and abs(ours["loss"] - loss) < 1e-5 and equal, folder


def compare_batch(folder, name):
    """Several prompts at once: transformers pads on the left, with a mask; we continue a file of prompts."""
    config = transformers.AutoConfig.from_pretrained(folder)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=os.path.join(folder, "tokenizer.json"))
    letters = [c for c in "abcdefghijklmnopqrstuvwxyz" if tokenizer.convert_tokens_to_ids(c) is not None and
               tokenizer.convert_tokens_to_ids(c) < config.vocab_size]
    prompts = ["".join(rng.choice(letters) for _ in range(rng.randint(1, 12))) for _ in range(5)]
    rows = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    new = 8
    want = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=new, min_new_tokens=new, do_sample=False,
                          pad_token_id=0, eos_token_id=None)[:, longest:].tolist()
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("".join(prompt + "\n" for prompt in prompts))
        file.flush()
        got = [one["ids"] for one in run("generate", "--checkpoint", folder, "--prompts", file.name, "--tokens", new, "--temperature", 0,
                                         "--ignore-end", "--json")["continuations"]]
    for row, ours, theirs_ids in zip(rows, got, want):
        if ours != theirs_ids:  # a tie within rounding may go either way
            first = next(i for i in range(new) if ours[i] != theirs_ids[i])
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([row + theirs_ids[:first]])).logits[0, -1]
            assert abs(float(logits[ours[first]] - logits[theirs_ids[first]])) < 1e-4, (folder, ours, theirs_ids)
    print(f"{name:34s} {len(rows)} prompts of {sorted(map(len, rows))} tokens together: greedy equal")


def check_theirs(index, folder):
    config = random_model()
    torch.manual_seed(arguments.seed + index)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.2 if parameter.dim() == 1 else parameter.shape[-1] ** -0.5))
            if parameter.dim() == 1 and ("norm" in name or "ln_" in name) and name.endswith("weight"):
                parameter.add_(1.0)
    dtype = rng.choice([torch.float32, torch.float32, torch.bfloat16, torch.float16])
    model.to(dtype)
    bare = config.tie_word_embeddings and rng.random() < 0.4  # the body alone: names without "transformer." or "model."
    (model.base_model if bare else model).save_pretrained(folder, max_shard_size=rng.choice(["5GB", "20KB"]))
    write_tokenizer(folder, config.vocab_size)
    files = sum(name.endswith(".safetensors") for name in os.listdir(folder))
    name = f"{config.model_type} {'tied' if config.tie_word_embeddings else 'untied'} {str(dtype)[6:]} {files} file(s){' bare' if bare else ''}"
    compare(folder, name)
    if config.vocab_size > 100:  # letters are in it
        compare_batch(folder, name)
    # Round trip: import, then export in several files; every tensor has the same bytes.
    run("import", "--from", folder, "--out", folder + "-in", "--json")
    run("export", "--checkpoint", folder + "-in", "--out", folder + "-out", "--max-shard-bytes", 30000, "--json")

    def tensors(path):
        return {k: v for f in os.listdir(path) if f.endswith(".safetensors") for k, v in load_file(os.path.join(path, f)).items()}
    before, after = tensors(folder), tensors(folder + "-out")
    if bare:
        before = {model.base_model_prefix + "." + k: v for k, v in before.items()}
    assert before.keys() == after.keys(), before.keys() ^ after.keys()
    assert all(before[k].dtype == after[k].dtype and torch.equal(before[k], after[k]) for k in before), "tensors changed"
    old, new = transformers.AutoConfig.from_pretrained(folder), transformers.AutoConfig.from_pretrained(folder + "-out")
    ignored = {"_name_or_path", "transformers_version", "use_cache", "architectures", "n_ctx", "task_specific_params", "summary_type", "pad_token_id",
               "max_window_layers", "sliding_window", "use_sliding_window", "head_dim", "attn_pdrop", "embd_pdrop", "torch_dtype", "rope_scaling", "n_inner", "activation_function"}
    if old.model_type == "mistral" and old.sliding_window is None:
        ignored.add("model_type")  # without a window it is a llama
    old, new = with_defaults(old.to_dict()), with_defaults(new.to_dict())
    differ = {k for k in old.keys() & new.keys() if old[k] != new[k]} - ignored
    assert not differ, {k: (old[k], new[k]) for k in differ}
    compare(folder + "-out", name.split(" ")[0] + " exported")
    # A larger vocabulary: the old logits stay.
    if index % 4 == 0:
        run("import", "--from", folder, "--out", folder + "-more", "--vocabulary", config.vocab_size + 9, "--json")
        compare(folder + "-more", name.split(" ")[0] + " with 9 more tokens")


FAMILIES = {
    "GPT2": "", "LLAMA": "key_heads: 2", "QWEN2": "key_heads: 1", "QWEN3": "key_heads: 2 head_dim: 8",
    "LLAMA with a window (mistral)": "sliding_window: 7", "LLAMA tied with biases": "tied: true qkv_bias: true projection_bias: true mlp_bias: true",
    "LLAMA with ReLU squared (arcee)": "activation: RELU_SQUARED mlp_width: 40", "QWEN2 with a window": "sliding_window: 5 full_attention_layers: 1 key_heads: 2",
    "LLAMA with YaRN": "rope_scaling { kind: YARN factor: 4 original_context: 12 beta_fast: 6 }", "LLAMA with llama3 scaling": "rope_scaling { kind: LLAMA3 factor: 8 original_context: 12 }", "GPT2 untied, ReLU squared": "tied: false activation: RELU_SQUARED",
}


def check_ours(name, extra, folder):
    data = folder + ".bin"
    write_tokens(data, [(i * i + 3 * i) % 61 for i in range(4000)])
    compute = rng.choice(["FP32", "BF16"])
    with open(folder + ".textproto", "w") as file:
        file.write(f"""steps: 3 seed: {rng.randrange(10**6)}
            model {{ family: {name.split(' ')[0]} layers: 2 heads: 4 width: 32 context: 32 vocabulary: 61 {extra} init_deviation: 0.15 }}
            data {{ train: "{data}" }} batch {{ micro_batch: 2 micro_batches: 2 }} optimizer {{ learning_rate: 1e-2 }}
            numerics {{ compute: {compute} }} evaluation {{ sequences: 2 }}""")
    run("pretrain", "--config", folder + ".textproto", "--out", folder, "--json")
    run("export", "--checkpoint", folder, "--out", folder + "-out", "--json")
    write_tokenizer(folder + "-out", 61)
    compare(folder + "-out", f"ours: {name} {compute}")


with tempfile.TemporaryDirectory() as work:
    for index in range(arguments.models):
        check_theirs(index, os.path.join(work, f"theirs-{index}"))
    for index, (name, extra) in enumerate(FAMILIES.items()):
        check_ours(name, extra, os.path.join(work, f"ours-{index}"))
print("all equal")
