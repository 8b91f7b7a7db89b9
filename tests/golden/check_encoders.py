#!/usr/bin/env python3
"""Do transformers and tsugi compute the same of each other's encoders? Random tiny models, other ones with every seed.

Usage: check_encoders.py TSUGI [SEED] [--models N]   (run by hand; needs torch, transformers, safetensors, tokenizers)

For each BERT, RoBERTa or DistilBERT: transformers writes a folder (MaskedLM, ForPreTraining or the body alone);
`tsugi evaluate --logits` must give its logits (fp32, within 1e-4) and `tsugi fill-mask` its likeliest tokens and their
probabilities; `tsugi import` and `tsugi export` must give back the bytes of every tensor, and transformers must compute the
same of the export. Sequence classifiers of transformers must say of texts of several lengths what `tsugi evaluate
--labelled` says. Then tsugi trains an encoder of each family for three steps and fine-tunes it, with all weights and with
an adapter; transformers must load both and agree.
"""
import argparse, json, os, random, subprocess, tempfile, time

import numpy, torch, transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

parser = argparse.ArgumentParser()
parser.add_argument("tsugi")
parser.add_argument("seed", nargs="?", type=int, default=int(time.time()))
parser.add_argument("--models", type=int, default=12)
arguments = parser.parse_args()
tsugi = os.path.abspath(arguments.tsugi)
rng = random.Random(arguments.seed)
print("seed", arguments.seed)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
SPECIAL = {"bert": ("[PAD]", "[CLS]", "[SEP]", "[MASK]"), "distilbert": ("[PAD]", "[CLS]", "[SEP]", "[MASK]"),
           "roberta": ("<s>", "<pad>", "</s>", "<mask>")}


def run(*command):
    result = subprocess.run([tsugi, *map(str, command)], capture_output=True, text=True)
    assert result.returncode == 0, f"{command}: {result.stderr}"
    return json.loads(result.stdout) if result.stdout.startswith("{") else None


def random_config():
    family = rng.choice(["bert", "roberta", "distilbert"])
    heads, layers = rng.choice([1, 2, 4]), rng.randint(1, 3)
    width = heads * rng.choice([4, 8, 10])
    context, vocabulary = rng.choice([24, 48]), rng.choice([260, 301])
    activation = rng.choice(["gelu", "gelu", "gelu_new", "relu2"])
    if family == "distilbert":
        return transformers.DistilBertConfig(vocab_size=vocabulary, dim=width, hidden_dim=rng.choice([24, 56]), n_layers=layers, n_heads=heads,
                                             max_position_embeddings=context, activation=activation)
    common = dict(vocab_size=vocabulary, hidden_size=width, intermediate_size=rng.choice([24, 56]), num_hidden_layers=layers,
                  num_attention_heads=heads, layer_norm_eps=rng.choice([1e-5, 1e-12]))
    if family == "roberta":
        return transformers.RobertaConfig(**common, max_position_embeddings=context + 2, type_vocab_size=1)
    return transformers.BertConfig(**common, hidden_act=activation, max_position_embeddings=context, type_vocab_size=rng.choice([2, 3]))


def context_of(config):
    return config.max_position_embeddings - (config.pad_token_id + 1 if config.model_type == "roberta" else 0)


def write_tokenizer(folder, config):
    """Byte-level characters behind the family's special tokens."""
    special = SPECIAL[config.model_type]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = (list(special) + alphabet)[:config.vocab_size]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=[]))
    tokenizer.add_special_tokens(list(special))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    start, end = (special[0], special[2]) if config.model_type == "roberta" else (special[1], special[2])
    pair = [(end, tokens.index(end)), (start, tokens.index(start))]
    tokenizer.post_processor = (processors.RobertaProcessing(*pair, add_prefix_space=False) if config.model_type == "roberta"
                                else processors.BertProcessing(*pair))
    tokenizer.save(os.path.join(folder, "tokenizer.json"))


def tokenizer_of(folder):
    return Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))


def randomise(model):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.2 if parameter.dim() == 1 else parameter.shape[-1] ** -0.5))
            if parameter.dim() == 1 and "norm" in name.lower() and name.endswith("weight"):
                parameter.add_(1.0)


def compare(folder, name):
    config = transformers.AutoConfig.from_pretrained(folder)
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval()
    length = context_of(config) - rng.randint(0, 4)
    # Not RoBERTa's padding token: transformers counts no position for it.
    tokens = [rng.randrange(4, config.vocab_size) for _ in range(length)]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([tokens])).logits[0].float()
    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        numpy.array(tokens + [0], dtype=numpy.uint16).tofile(file.name)
        ours = run("evaluate", "--checkpoint", folder, "--tokens", file.name, "--sequence", length, "--logits", file.name + ".logits",
                   "--mask-probability", 1, "--mask-share", 0, "--random-share", 0, "--mask-token", 3, "--json")
        got = torch.from_numpy(numpy.fromfile(file.name + ".logits", dtype=numpy.float32)).reshape(length, config.vocab_size)
        os.remove(file.name + ".logits")
    difference = float((got - logits).abs().max())
    loss = float(torch.nn.functional.cross_entropy(logits.double(), torch.tensor(tokens)))
    right = float((logits.argmax(-1) == torch.tensor(tokens)).double().mean())
    assert abs(ours["accuracy"] - right) < 1.5 / length, (ours, right)
    # A text with two hidden tokens, with the special tokens around it.
    tokenizer, mask = tokenizer_of(folder), SPECIAL[config.model_type][3]
    text = "to be" + mask + " or not" + mask
    ids = tokenizer.encode(text).ids
    with torch.no_grad():
        scores = model(input_ids=torch.tensor([ids])).logits[0].softmax(-1)
    filled = run("fill-mask", "--checkpoint", folder, "--text", "to be[MASK] or not<mask>", "--top-k", 3, "--json")["masks"]
    places = [i for i, token in enumerate(ids) if token == tokenizer.token_to_id(mask)]
    assert [one["position"] for one in filled] == places, (filled, places)
    worst = max(abs(float(scores[one["position"], c["id"]]) - c["probability"]) for one in filled for c in one["candidates"])
    for one in filled:
        assert abs(one["candidates"][0]["probability"] - float(scores[one["position"]].max())) < 1e-5
    print(f"{name:40s} logits {difference:.1e}  loss {abs(ours['loss'] - loss):.1e}  fill-mask {worst:.1e}")
    assert difference <= 1e-4 and abs(ours["loss"] - loss) < 1e-5 and worst < 1e-5, folder


def tensors(path):
    return {k: v for f in os.listdir(path) if f.endswith(".safetensors") for k, v in load_file(os.path.join(path, f)).items()}


def old_names(folder):
    """As folders that were converted from TensorFlow have them: gamma and beta, and a copy of the tied table."""
    path = os.path.join(folder, "model.safetensors")
    if not os.path.exists(path):
        return
    all = load_file(path)
    all = {k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v for k, v in all.items()}
    all["bert.embeddings.position_ids"] = torch.arange(5)[None].float()
    all["cls.predictions.decoder.weight"] = all["bert.embeddings.word_embeddings.weight"].clone()
    save_file(all, path, {"format": "pt"})


def check_theirs(index, folder):
    config = random_config()
    torch.manual_seed(arguments.seed + index)
    kind = rng.choice(["MaskedLM", "MaskedLM", "body", "PreTraining"])
    if kind == "PreTraining" and config.model_type != "bert":
        kind = "MaskedLM"
    model = (transformers.BertForPreTraining(config) if kind == "PreTraining" else
             transformers.AutoModel.from_config(config) if kind == "body" else transformers.AutoModelForMaskedLM.from_config(config))
    randomise(model)
    dtype = rng.choice([torch.float32, torch.float32, torch.bfloat16, torch.float16])
    model.to(dtype).save_pretrained(folder, max_shard_size=rng.choice(["5GB", "20KB"]))
    write_tokenizer(folder, config)
    old = kind == "MaskedLM" and config.model_type == "bert" and rng.random() < 0.5
    name = f"{config.model_type} {kind} {str(dtype)[6:]}{' old names' if old else ''}"
    run("import", "--from", folder, "--out", folder + "-in", "--json")
    run("export", "--checkpoint", folder + "-in", "--out", folder + "-out", "--max-shard-bytes", 30000, "--json")
    before, after = tensors(folder), tensors(folder + "-out")
    if kind == "body":
        before = {model.base_model_prefix + "." + k: v for k, v in before.items()}
    assert before.keys() == after.keys(), before.keys() ^ after.keys()
    assert all(before[k].dtype == after[k].dtype and torch.equal(before[k], after[k]) for k in before), "tensors changed"
    if kind == "body":
        again = transformers.AutoModel.from_pretrained(folder + "-out", dtype=torch.float32).eval()
        ids = torch.tensor([[5, 6, 7]])
        with torch.no_grad():
            difference = (again(ids).last_hidden_state - model.float().eval()(ids).last_hidden_state).abs().max()
        assert difference < 1e-5, difference
        print(f"{name:40s} the same through transformers")
        return
    if kind == "PreTraining":
        again = transformers.BertForPreTraining.from_pretrained(folder + "-out", dtype=torch.float32).eval()
        ids, segments = torch.tensor([[5, 6, 7, 8]]), torch.tensor([[0, 0, 1, 1]])
        with torch.no_grad():
            pairs = [one(ids, token_type_ids=segments).seq_relationship_logits for one in (again, model.float().eval())]
        assert (pairs[0] - pairs[1]).abs().max() < 1e-5, pairs
    if old:
        old_names(folder)
    compare(folder, name)
    compare(folder + "-out", name.split(" ")[0] + " exported")
    if index % 3 == 0:
        run("import", "--from", folder, "--out", folder + "-more", "--vocabulary", config.vocab_size + 9, "--json")
        compare(folder + "-more", name.split(" ")[0] + " with 9 more tokens")


TEXTS = ["a", "to be", "or not to be", "that is the question: whether", "tis"]


def compare_classifier(folder, name):
    config = transformers.AutoConfig.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = tokenizer_of(folder)
    labels = [config.id2label[i] for i in range(len(config.id2label))]
    with open(folder + ".jsonl", "w") as file:
        for text in TEXTS:
            file.write(json.dumps({"text": text, "label": labels[0]}) + "\n")
    run("evaluate", "--checkpoint", folder, "--labelled", folder + ".jsonl", "--predictions", folder + ".out", "--json")
    worst = 0.0
    for text, line in zip(TEXTS, open(folder + ".out")):
        ids = tokenizer.encode(text).ids[:context_of(config)]
        with torch.no_grad():
            probabilities = model(input_ids=torch.tensor([ids])).logits[0].softmax(-1)
        said = json.loads(line)
        assert said["label"] == labels[int(probabilities.argmax())], (said, probabilities)
        worst = max(worst, abs(said["probability"] - float(probabilities.max())))
    print(f"{name:40s} classes within {worst:.1e}")
    assert worst < 1e-5


def check_classifier(index, folder):
    config = random_config()
    torch.manual_seed(arguments.seed + 1000 + index)
    config.num_labels = rng.choice([2, 3])
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    randomise(model)
    model.save_pretrained(folder)
    write_tokenizer(folder, config)
    compare_classifier(folder, f"{config.model_type} classifier")


def check_ours(family, folder):
    data = folder + ".bin"
    numpy.array([4 + (i * i + 3 * i) % 60 for i in range(4000)], dtype=numpy.uint16).tofile(data)
    with open(folder + ".textproto", "w") as file:
        file.write(f"""steps: 3 seed: {rng.randrange(10**6)} objective {{ masked_lm {{ mask_token: 3 }} }}
            model {{ family: {family} layers: 2 heads: 4 width: 32 context: 32 vocabulary: 260 init_deviation: 0.15 }}
            data {{ train: "{data}" }} batch {{ micro_batch: 2 micro_batches: 2 }} optimizer {{ learning_rate: 1e-2 }}
            numerics {{ compute: {rng.choice(["FP32", "BF16"])} }} evaluation {{ sequences: 2 }}""")
    run("pretrain", "--config", folder + ".textproto", "--out", folder, "--json")
    run("export", "--checkpoint", folder, "--out", folder + "-out", "--json")
    write_tokenizer(folder + "-out", transformers.AutoConfig.from_pretrained(folder + "-out"))
    compare(folder + "-out", f"ours: {family}")
    with open(folder + "-task.jsonl", "w") as file:
        for i in range(40):
            file.write(json.dumps({"text": rng.choice(TEXTS), "label": rng.choice(["good", "bad"])}) + "\n")
    task = ["--train", folder + "-task.jsonl", "--validation", folder + "-task.jsonl", "--epochs", 2, "--learning-rate", 5e-3]
    run("finetune", "--checkpoint", folder + "-out", *task, "--out", folder + "-tuned", "--json")
    run("export", "--checkpoint", folder + "-tuned", "--out", folder + "-classifier", "--json")
    compare_classifier(folder + "-classifier", f"ours: {family} fine-tuned")
    run("finetune", "--checkpoint", folder + "-out", *task, "--lora-rank", 3, "--out", folder + "-lora", "--json")
    run("export", "--checkpoint", folder + "-lora", "--out", folder + "-merged", "--json")
    compare_classifier(folder + "-merged", f"ours: {family} adapted")
    run("finetune", "--checkpoint", folder + "-classifier", *task, "--linear-probe", "--out", folder + "-probed", "--json")


with tempfile.TemporaryDirectory() as work:
    for index in range(arguments.models):
        check_theirs(index, os.path.join(work, f"theirs-{index}"))
    for index in range(max(3, arguments.models // 2)):
        check_classifier(index, os.path.join(work, f"classifier-{index}"))
    for family in ["BERT", "ROBERTA", "DISTILBERT"]:
        check_ours(family, os.path.join(work, f"ours-{family}"))
print("all equal")
