#!/usr/bin/env python3
"""What gpu.sh measured, beside what was asked for: a table of demands, and one of every kernel, as Markdown.

Usage: benchmarks/gpu_report.py FOLDER     reads FOLDER/*.jsonl, writes FOLDER/report.md and prints the demands

A demand of which nothing was measured says so. Needs Python alone.
"""
import collections, json, os, sys

OURS = ("", "_wgmma", "_ping_pong")  # kernels of attention that do the same


def rows_of(folder, name):
    path = os.path.join(folder, name)
    rows = []
    for line in open(path) if os.path.exists(path) else ():
        try:
            rows.append(json.loads(line))
        except ValueError:
            print(f"{path}: a line is no JSON: {line[:80]}", file=sys.stderr)
    return rows


def shape_text(shape):
    return " ".join(f"{name} {value}" for name, value in shape.items() if value or name in ("causal",))


class Demands:
    def __init__(self):
        self.lines = []

    def add(self, what, asked, figures):
        """figures: of every shape (figure, label); the least one counts."""
        figures = [f for f in figures if f[0] is not None]
        if not figures:
            self.lines.append((what, f"{asked:g}", "not measured", "", ""))
            return
        least, label = min(figures)
        self.lines.append((what, f"{asked:g}", f"{least:.3g}", label, "yes" if least >= asked else "NO"))

    def agree(self, what, verdicts):
        """verdicts: (whether, label)."""
        wrong = [label for good, label in verdicts if not good]
        said = "not measured" if not verdicts else f"{len(verdicts) - len(wrong)} of {len(verdicts)}"
        self.lines.append((what, "all", said, ", ".join(wrong[:5]), "" if not verdicts else "NO" if wrong else "yes"))


def attention(demands, kernels, peers):
    """The best of our kernels over the best of the peers' backends, by shape."""
    ours, theirs = {}, collections.defaultdict(dict)
    for row in kernels:
        for ending in OURS:
            for kind in ("attention_forward", "attention_backward"):
                if row["kernel"] == kind + ending and "microseconds" in row:
                    key = (kind, json.dumps(row["shape"]))
                    ours[key] = min(ours.get(key, 1e30), row["microseconds"])
    for row in peers:
        if row.get("kernel") in ("attention_forward", "attention_backward") and "microseconds" in row:
            theirs[row["kernel"], json.dumps(row["shape"])][row["peer"]] = row["microseconds"]

    def ratios(kind, wanted, of):
        result = []
        for (name, shape), time in ours.items():
            s = json.loads(shape)
            if name != kind or s["window"] or s["bias"] or s["f32"] or s["head_dim"] not in (64, 128) or not wanted(s["tokens"]):
                continue
            of_peers = [t for peer, t in theirs[name, shape].items() if of(peer)]
            if of_peers:
                result.append((min(of_peers) / time, shape_text(s)))
        return result
    anything = lambda peer: True
    demands.add("attention forward over the best SDPA backend, T 512 to 8192", 0.9, ratios("attention_forward", lambda t: t <= 8192, anything))
    demands.add("the same, T ≤ 1024", 1.0, ratios("attention_forward", lambda t: t <= 1024, anything))
    demands.add("attention backward over the best deterministic backend", 1.0,
                ratios("attention_backward", lambda t: t <= 8192, lambda peer: "deterministic" in peer))
    demands.add("attention backward over the best backend of all", 0.8, ratios("attention_backward", lambda t: t <= 8192, anything))


def demanded(folder):
    kernels = [row for row in rows_of(folder, "kernels.jsonl") if "kernel" in row]
    peers, training, tests = (rows_of(folder, name + ".jsonl") for name in ("peers", "training", "tests"))
    demands = Demands()
    demands.agree("the device's tests pass", [(r["result"] != "failed" if "result" in r else False, r["test"]) for r in tests if "test" in r])
    demands.agree("the same bits in every run", [(r.get("same_bits", False), r["kernel"]) for r in kernels])
    demands.agree("attention's kernels agree (relative difference < 0.01)",
                  [(r["difference"] is not None and r["difference"] < 0.01, f'{r["kernel"]} {shape_text(r["shape"])}') for r in kernels if "difference" in r])
    demands.agree("compute-sanitizer finds nothing", [(r["code"] == 0 and r["tests"] > 0, r["tool"]) for r in tests if "tool" in r])
    demands.agree("loss curves of CPU and CUDA agree over 200 steps", [(r["agree"], "") for r in training if r.get("steps", 0) >= 200 and "agree" in r])

    def speed(shape, figure):
        return [(r[figure], f'{r["attention"]}') for r in training if r.get("shape") == shape and r.get("contender") == "tsugi" and figure in r]
    for shape, figure, asked in (("gpt2_124m", "tokens_per_second", 5e5), ("llama_1b", "mfu_palm", 0.55)):
        best = max(speed(shape, figure), default=None)
        demands.add(f"{shape}, T as published: {figure}", asked, [best] if best else [])
    attention(demands, kernels, peers)
    demands.add("norms, TB/s", 3.5, [(1e-3 * r["gigabytes_per_second"], f'{r["kernel"]} {shape_text(r["shape"])}')
                                     for r in kernels if "_norm_" in r["kernel"] and "gigabytes_per_second" in r])
    for kernel in ("adamw", "cross_entropy"):
        demands.add(f"{kernel}, of the rate of a copy", 0.8, [(r.get("fraction"), shape_text(r["shape"])) for r in kernels if r["kernel"] == kernel])
    return demands, kernels, peers, training


def table(head, lines):
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in (head, ["---"] * len(head), *lines)) + "\n"


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    folder = sys.argv[1]
    demands, kernels, peers, training = demanded(folder)
    best = {}  # of a kernel and shape, the fastest peer
    for row in peers:
        key = (row.get("kernel"), json.dumps(row.get("shape")))
        if "ours" in row and row["microseconds"] < best.get(key, (1e30,))[0]:
            best[key] = (row["microseconds"], f'{row["ours"]:.2f} ({row["peer"]})')
    lines = []
    for row in kernels:
        peer = best.get((row["kernel"], json.dumps(row["shape"])), (0, ""))[1]
        if "microseconds" not in row:
            lines.append((row["kernel"], shape_text(row["shape"]), row.get("error", "")[:80], "", "", ""))
            continue
        rate = f'{row["tflops"]:.0f} TFLOP/s' if row.get("flops", 0) > 50 * row["bytes"] else f'{row["gigabytes_per_second"]:.0f} GB/s'
        lines.append((row["kernel"], shape_text(row["shape"]), f'{row["microseconds"]:.1f}', rate, f'{row.get("fraction", 0):.2f}', peer))
    steps = [(r["shape"], r["contender"], r.get("attention", r.get("compiled", "")), r.get("tokens_per_second", r.get("error", "")[:60]),
              r.get("mfu_palm", ""), r.get("mfu_causal", ""), round((r.get("peak_bytes") or 0) / 2**30, 1)) for r in training if "contender" in r]
    asked = table(("demand", "asked", "least measured", "where", "met"), demands.lines)
    with open(os.path.join(folder, "report.md"), "w") as file:
        file.write("# What was asked for\n\n" + asked + "\n# Training\n\n" +
                   table(("shape", "contender", "how", "tokens/s", "MFU, PaLM", "MFU, causal", "GiB at the peak"), steps) + "\n# Kernels\n\n" +
                   table(("kernel", "shape", "µs", "achieved", "of the roof", "best peer's time over ours"), lines))
    print(asked)


if __name__ == "__main__":
    main()
