#!/usr/bin/env python3
"""Training tokens/s of tsugi beside PyTorch, on the same cores, alternating in one run.

Question: how fast is a training step (forward, backward, clipping, AdamW) of the same model on the same batch?
Usage: benchmarks/train_step.py --tsugi build/release/tsugi [--out benchmarks/results/FILE.json] [--shapes small,gpt2]
                                [--llmc CHECKOUT]
Needs torch and transformers in the Python that runs it (never needed by tsugi itself). With a checkout of llm.c
(github.com/karpathy/llm.c) its train_gpt2.c takes part in fp32, compiled by gcc as its Makefile does, with batch,
context and number of steps of the shape in place of its own.

The model is GPT-2 without dropout; tokens are random. Every contender runs `rounds` times, in turn; a run's figure is
the median over its timed steps, the row's figure the median over rounds. FLOPs per token: PaLM convention (6N + 12LHQT)
and causal (6N + 6LHQT), N without the position table, as in core/scaling/flops.h.
"""
import argparse, json, os, platform, re, statistics, subprocess, sys, tempfile, time
from datetime import date

SHAPES = {
    # name: layers, heads, width, context, vocabulary, rows per micro-batch, micro-batches, timed steps, rounds
    "small": dict(layers=4, heads=4, width=64, context=64, vocabulary=256, rows=4, micro_batches=1, steps=60, rounds=3),
    "nanogpt": dict(layers=4, heads=4, width=128, context=64, vocabulary=65, rows=12, micro_batches=1, steps=40, rounds=3),
    "gpt2_64": dict(layers=12, heads=12, width=768, context=64, vocabulary=50257, rows=4, micro_batches=1, steps=3, rounds=1),  # as llm.c's trainer has it
    "gpt2": dict(layers=12, heads=12, width=768, context=1024, vocabulary=50257, rows=4, micro_batches=1, steps=3, rounds=1),
}
WARM_UP = {"small": 10, "nanogpt": 5, "gpt2_64": 1, "gpt2": 1}


def write_tokens(path, vocabulary, count):
    """nanoGPT's form: headerless uint16."""
    import numpy
    numpy.random.default_rng(0).integers(0, vocabulary, count, dtype=numpy.uint16).tofile(path)


def tsugi(binary, shape, threads, compute, folder):
    tokens = os.path.join(folder, "tokens.bin")
    write_tokens(tokens, shape["vocabulary"], 64 * shape["context"] * max(shape["rows"], 4))
    config = os.path.join(folder, "config.textproto")
    with open(config, "w") as file:
        file.write(f"""
steps: {shape['steps'] + shape['warm_up']}
model {{ layers: {shape['layers']} heads: {shape['heads']} width: {shape['width']} context: {shape['context']} vocabulary: {shape['vocabulary']} }}
data {{ train: "{tokens}" }}
batch {{ micro_batch: {shape['rows']} micro_batches: {shape['micro_batches']} }}
optimizer {{ learning_rate: 3e-4 }}
numerics {{ compute: {compute} }}
checkpoint {{ every_steps: 0 }}
evaluation {{ every_steps: 0 }}
dist {{ threads: {threads} }}
""")
    run = tempfile.mkdtemp(dir=folder)
    result = subprocess.run([binary, "pretrain", "--config", config, "--out", run, "--json"], capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"tsugi failed:\n{result.stderr}")
    seconds = [json.loads(line)["seconds"] for line in open(os.path.join(run, "metrics.jsonl")) if '"seconds"' in line]
    summary = json.loads(result.stdout)
    per_step = statistics.median(seconds[shape["warm_up"]:])
    tokens_per_second = shape["rows"] * shape["micro_batches"] * shape["context"] / per_step
    rate = summary["tokens_per_second"] * flops_per_token(shape)[0] / summary["mfu"]
    return tokens_per_second, rate


def pytorch(shape, threads, compute, compiled):
    import torch, transformers
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=shape["vocabulary"], n_positions=shape["context"], n_embd=shape["width"],
                                     n_layer=shape["layers"], n_head=shape["heads"], resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
                                     attn_implementation="sdpa", use_cache=False)
    model = transformers.GPT2LMHeadModel(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    forward = torch.compile(model) if compiled else model
    ids = torch.randint(0, shape["vocabulary"], (shape["rows"], shape["context"] + 1))

    def step():
        for _ in range(shape["micro_batches"]):
            with torch.autocast("cpu", torch.bfloat16, enabled=compute == "BF16"):
                logits = forward(input_ids=ids[:, :-1]).logits
                loss = torch.nn.functional.cross_entropy(logits.float().view(-1, shape["vocabulary"]), ids[:, 1:].reshape(-1))
            (loss / shape["micro_batches"]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    for _ in range(shape["warm_up"]):
        step()
    seconds = []
    for _ in range(shape["steps"]):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return shape["rows"] * shape["micro_batches"] * shape["context"] / statistics.median(seconds)


def llmc(checkout, shape, threads, folder):
    import numpy
    rows, context = shape["rows"] * shape["micro_batches"], shape["context"]  # it does not accumulate
    source = open(os.path.join(checkout, "train_gpt2.c")).read()
    for pattern, value in ((r"int B = \d+;", f"int B = {rows};"), (r"int T = \d+;", f"int T = {context};"),
                           (r"step <= \d+;", f"step < {shape['warm_up'] + shape['steps']};"),
                           (r"int val_num_batches = \d+;", "int val_num_batches = 0;"),
                           (r"step > 0 && step % \d+ == 0", "0")):
        source, found = re.subn(pattern, value, source)
        if found != 1:
            sys.exit(f"{checkout}/train_gpt2.c: {found} places look like {pattern}, one was expected")
    os.makedirs(os.path.join(folder, "dev/data/tinyshakespeare"))
    with open(os.path.join(folder, "train.c"), "w") as file:
        file.write(source)
    subprocess.run(["gcc", "-Ofast", "-march=native", "-fopenmp", "-DOMP", "-w", "-I", checkout, "train.c", "-o", "train", "-lm"],
                   cwd=folder, check=True)
    vocabulary, width, layers = shape["vocabulary"], shape["width"], shape["layers"]
    padded = -(-vocabulary // 128) * 128
    random = numpy.random.default_rng(0)
    with open(os.path.join(folder, "gpt2_124M.bin"), "wb") as file:
        header = numpy.zeros(256, numpy.int32)
        header[:8] = 20240326, 3, context, vocabulary, layers, shape["heads"], width, padded
        header.tofile(file)
        parameters = (padded + context) * width + layers * (12 * width * width + 13 * width) + 2 * width
        (random.standard_normal(parameters, numpy.float32) * 0.02).tofile(file)
    for split in ("train", "val"):
        with open(os.path.join(folder, f"dev/data/tinyshakespeare/tiny_shakespeare_{split}.bin"), "wb") as file:
            tokens = (shape["warm_up"] + shape["steps"] + 1) * rows * context + 1
            header = numpy.zeros(256, numpy.int32)
            header[:3] = 20240520, 1, tokens
            header.tofile(file)
            random.integers(0, vocabulary, tokens, dtype=numpy.uint16).tofile(file)
    said = subprocess.check_output(["./train"], cwd=folder, text=True, env=dict(os.environ, OMP_NUM_THREADS=str(threads)))
    steps = [float(ms) / 1e3 for ms in re.findall(r"took ([0-9.]+) ms", said)]
    return rows * context / statistics.median(steps[shape["warm_up"]:])


def flops_per_token(shape):
    width, layers = shape["width"], shape["layers"]
    products = 6 * (layers * (12 * width * width + 13 * width) + 2 * width + shape["vocabulary"] * width)
    scores = 12 * layers * width * shape["context"]
    return products + scores, products + scores / 2


def processor():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            flags = open("/proc/cpuinfo").read()
            level = "avx512_bf16" if "avx512_bf16" in flags else "avx512" if "avx512f" in flags else "avx2"
            return line.split(":", 1)[1].strip() + ", " + level
    return platform.processor()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tsugi", required=True)
    parser.add_argument("--out")
    parser.add_argument("--shapes", default="small,nanogpt,gpt2")
    parser.add_argument("--computes", default="FP32,BF16")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile")
    parser.add_argument("--llmc", help="a checkout of llm.c")
    parser.add_argument("--steps", type=int, help="timed steps of a run, instead of the shape's")
    parser.add_argument("--warm-up", type=int, help="steps before them")
    parser.add_argument("--rounds", type=int, help="runs of every contender")
    arguments = parser.parse_args()
    import torch
    report = dict(date=str(date.today()), machine=processor(), threads=arguments.threads, torch=torch.__version__,
                  commit=subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip(), rows=[])
    for name in arguments.shapes.split(","):
        shape = dict(SHAPES[name], warm_up=WARM_UP[name])
        for field in ("steps", "warm_up", "rounds"):
            if getattr(arguments, field) is not None:
                shape[field] = getattr(arguments, field)
        palm, causal = flops_per_token(shape)
        for compute in arguments.computes.split(","):
            speeds, rates = {}, []
            for _ in range(shape["rounds"]):
                with tempfile.TemporaryDirectory() as folder:
                    speed, rate = tsugi(arguments.tsugi, shape, arguments.threads, compute, folder)
                rates.append(rate)
                speeds.setdefault("tsugi", []).append(speed)
                if arguments.llmc and compute == "FP32":
                    with tempfile.TemporaryDirectory() as folder:
                        speeds.setdefault("llm.c", []).append(llmc(arguments.llmc, shape, arguments.threads, folder))
                speeds.setdefault("torch eager", []).append(pytorch(shape, arguments.threads, compute, False))
                if not arguments.no_compile:
                    speeds.setdefault("torch compile", []).append(pytorch(shape, arguments.threads, compute, True))
            best = max(statistics.median(v) for k, v in speeds.items() if k.startswith("torch"))
            rate = statistics.median(rates)
            for contender, values in speeds.items():
                speed = statistics.median(values)
                row = dict(shape=name, compute=compute, contender=contender, tokens_per_second=round(speed, 1),
                           mfu_palm=round(speed * palm / rate, 4), mfu_causal=round(speed * causal / rate, 4),
                           gemm_gflops=round(rate / 1e9, 1), ratio_to_best_torch=round(speed / best, 3))
                report["rows"].append(row)
                print(json.dumps(row), flush=True)
                if arguments.out:
                    with open(arguments.out, "w") as file:
                        json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
