#!/usr/bin/env python3
"""Training tokens/s over sequence lengths and widths beside the FLOP model, measured memory beside the planned one.

Questions: where does the step fall behind the rate of matrix products? Is the plan of memory what a process takes?
Usage: benchmarks/shapes.py --tsugi build/release/tsugi [--out benchmarks/results/FILE.json] [--threads 1]
       [--lengths 256,512,1024,2048,4096] [--widths 64,128,256,512,1024] [--tokens 4096]

GPT-2 without dropout, 4 layers, heads of 64 (of 16 below width 128), vocabulary 4096, about `tokens` tokens a step in two
micro-batches.
Every shape runs alone, in `tsugi bench step`; the rate of products (1024 x 1024 x 1024) is measured in the same run.
"model" is the tokens/s at which that rate would carry out the FLOPs that the model counts (causal), so that
tokens/s / model is the MFU. Memory: bytes that the plan says and those that the program had resident before it began
with it, and the most that the process had resident.
"""
import argparse, json, os, subprocess, sys, tempfile
from datetime import date

from train_step import processor


def measure(binary, length, width, threads, tokens, compute, folder):
    config = os.path.join(folder, "config.textproto")
    heads = width // 64 if width >= 128 else width // 16
    with open(config, "w") as file:
        file.write(f"""
steps: 1
model {{ layers: 4 heads: {heads} width: {width} context: {length} vocabulary: 4096 dropout: 0 }}
data {{ train: "none" }}
batch {{ micro_batch: {max(1, tokens // length // 2)} micro_batches: 2 }}
optimizer {{ learning_rate: 3e-4 }}
numerics {{ compute: {compute} }}
dist {{ threads: {threads} }}
""")
    # The cost grows with width squared: about two seconds of steps each, three at least.
    steps = max(3, min(200, int(2e11 * threads / (tokens * (6 * 4 * 12 * width * width + 6 * 4096 * width)))))
    command = [binary, "bench", "step", "--config", config, "--steps", str(steps), "--warm-up", "2", "--json"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{result.stderr}")
    return json.loads(result.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = lambda text: [int(one) for one in text.split(",")]
    parser.add_argument("--tsugi", required=True)
    parser.add_argument("--out")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--lengths", type=numbers, default=[256, 512, 1024, 2048, 4096])
    parser.add_argument("--widths", type=numbers, default=[64, 128, 256, 512, 1024])
    parser.add_argument("--compute", choices=["FP32", "BF16"], default="FP32")
    arguments = parser.parse_args()
    report = dict(date=str(date.today()), machine=processor(), threads=arguments.threads, compute=arguments.compute,
                  commit=subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip(), rows=[])
    print(f"{'T':>5} {'width':>5} {'tokens/s':>10} {'model':>10} {'MFU':>6} {'PaLM':>6} {'plan MiB':>9} {'program':>9} {'peak MiB':>9} {'peak/both':>9}")
    for width in arguments.widths:
        for length in arguments.lengths:
            with tempfile.TemporaryDirectory() as folder:
                result = measure(os.path.abspath(arguments.tsugi), length, width, arguments.threads, arguments.tokens, arguments.compute, folder)
            model = result["matmul_flops_per_second"] / result["flops_per_token"]["causal"]
            row = dict(length=length, width=width, tokens_per_second=round(result["tokens_per_second"], 1), model_tokens_per_second=round(model, 1),
                       mfu_causal=round(result["mfu_causal"], 4), mfu_palm=round(result["mfu_palm"], 4),
                       gemm_gflops=round(result["matmul_flops_per_second"] / 1e9, 1), planned_bytes=result["planned_bytes"],
                       program_resident_bytes=result["program_resident_bytes"], peak_resident_bytes=result["peak_resident_bytes"])
            report["rows"].append(row)
            both = row["planned_bytes"] + row["program_resident_bytes"]
            print(f"{length:5} {width:5} {row['tokens_per_second']:10.1f} {model:10.1f} {row['mfu_causal']:6.1%} {row['mfu_palm']:6.1%} "
                  f"{row['planned_bytes'] / 2**20:9.1f} {row['program_resident_bytes'] / 2**20:9.1f} {row['peak_resident_bytes'] / 2**20:9.1f} {row['peak_resident_bytes'] / both:9.3f}", flush=True)
            if arguments.out:
                with open(arguments.out, "w") as file:
                    json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
