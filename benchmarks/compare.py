#!/usr/bin/env python3
"""Compares a new result of train_step.py with the committed ones: did we lose ground beside PyTorch?

Question: is our tokens/s over PyTorch's best, measured in one run, still what it was?
Usage: benchmarks/compare.py NEW.json [--against OLD.json ...] [--tolerance 0.1]
Exit code: 0 when no ratio fell by more than the tolerance, 1 when one did, 2 when there is nothing to compare or a file is none of ours.

Rows are matched by shape, compute type and threads; without --against with the newest committed file that has the row.
Tokens/s depend on the machine and on what else it does; the ratio of the same run does so much less. Used by hand: no
test is decided by wall time.
"""
import argparse, glob, json, os, sys


def read(path):
    """{(shape, compute, threads): (our tokens/s, PyTorch's best tokens/s)} of rows that have both."""
    try:
        with open(path) as file:
            report = json.load(file)
        speeds = {}
        for row in report["rows"]:
            key = (row["shape"], row["compute"], report["threads"])
            speeds.setdefault(key, {})[row["contender"]] = float(row["tokens_per_second"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"compare.py: {path} is not a result of train_step.py: {error!r}", file=sys.stderr)
        sys.exit(2)
    pairs = {}
    for key, contenders in speeds.items():
        peers = [speed for name, speed in contenders.items() if name.startswith("torch")]
        if "tsugi" in contenders and peers and min(peers) > 0:
            pairs[key] = (contenders["tsugi"], max(peers))
    return pairs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("new")
    parser.add_argument("--against", nargs="+", help="default: results/*_train_step_*.json beside this program")
    parser.add_argument("--tolerance", type=float, default=0.1, help="a part of the old ratio (default 0.1)")
    arguments = parser.parse_args()
    if not 0 <= arguments.tolerance < 1:
        parser.error("--tolerance is a part of the old ratio: from 0 to below 1")
    results = os.path.join(os.path.dirname(os.path.abspath(__file__)), "results", "*_train_step_*.json")
    paths = arguments.against or [path for path in sorted(glob.glob(results)) if not os.path.samefile(path, arguments.new)]
    old = {}
    for path in paths:  # names begin with the date: the newest wins
        old.update(read(path))
    new = read(arguments.new)
    lost = compared = 0
    print(f"{'shape':10} {'compute':8} {'threads':>7} {'tsugi/s':>10} {'torch/s':>10} {'ratio':>7} {'before':>7} {'change':>8}")
    for key in sorted(new):
        ours, peer = new[key]
        line = f"{key[0]:10} {key[1]:8} {key[2]:7} {ours:10.1f} {peer:10.1f} {ours / peer:7.3f}"
        if key not in old:
            print(line + "       -  not measured before")
            continue
        before = old[key][0] / old[key][1]
        change = ours / peer / before - 1
        fell = change < -arguments.tolerance
        print(line + f" {before:7.3f} {change:+8.1%}" + ("  LOST" if fell else ""))
        compared += 1
        lost += fell
    if compared == 0:
        print("no row is in both", file=sys.stderr)
        return 2
    print(f"{lost} of {compared} ratios fell by more than {arguments.tolerance:.0%}")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
