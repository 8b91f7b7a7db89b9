#!/usr/bin/env python3
"""One rank with two threads beside two ranks with one thread, and what the communication thread costs.

Questions: does it matter how cores are cut into ranks? Which part of a rank's processor time does its thread
"tsugi-mpi" take, and which part of a step waits for the gradients of others?
Usage: benchmarks/ranks.py --tsugi build/release/tsugi [--out benchmarks/results/FILE.json] [--shapes nanogpt] [--rounds 5]

Both sides train on the same global batch of two micro-batches, in turn, `rounds` times; figures are medians over the
rounds of the median step. Processor time is that of /proc/PID/task/*/schedstat from the first steps on; that of the
thread before them, in which it loads and initialises MPI, is given beside it. On an idle machine; what must be: within
5 %, and at most 5 % of the processor time.
"""
import argparse, json, os, statistics, subprocess, sys, tempfile, threading, time
from datetime import date

from train_step import processor

SHAPES = {
    "small": dict(layers=4, heads=4, width=64, context=64, vocabulary=256, rows=4, steps=600),
    "nanogpt": dict(layers=4, heads=4, width=128, context=64, vocabulary=65, rows=12, steps=150),
    "medium": dict(layers=4, heads=8, width=512, context=256, vocabulary=4096, rows=2, steps=8),
}
WARM_UP = 3
COMMUNICATION = "tsugi-mpi"


def descendants(pid):
    found = [pid]
    for parent in found:
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{task}/children") as file:
                    found += [int(child) for child in file.read().split()]
        except OSError:
            pass  # it ended in the meantime
    return found


def watch(process, metrics, seen):
    """seen["last"][(pid, thread)] = (name, processor seconds) of the tsugi processes below `process`, as last seen, and
    seen["first"] the same when the first steps were over."""
    while process.poll() is None:
        try:
            with open(metrics) as file:
                steps = sum("seconds" in line for line in file)
        except OSError:
            steps = 0
        now = {}
        for pid in descendants(process.pid):
            try:
                with open(f"/proc/{pid}/comm") as file:
                    if not file.read().startswith("tsugi"):
                        continue
                for thread in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{thread}/comm") as file:
                        name = file.read().strip()
                    with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
                        now[pid, thread] = (name, int(file.read().split()[0]) / 1e9)
            except OSError:
                pass  # it ended in the meantime
        seen.setdefault("last", {}).update(now)
        if steps >= WARM_UP:
            seen.setdefault("first", now)
        time.sleep(0.05)


def run(binary, shape, ranks, threads, folder):
    config = os.path.join(folder, "config.textproto")
    tokens = os.path.join(folder, "tokens.bin")
    import random
    draw = random.Random(0)
    with open(tokens, "wb") as file:  # headerless uint16, as nanoGPT's
        count = 256 * shape["context"]
        file.write(b"".join(draw.randrange(shape["vocabulary"]).to_bytes(2, "little") for _ in range(count)))
    with open(config, "w") as file:
        file.write(f"""
steps: {shape["steps"] + WARM_UP}
model {{ layers: {shape["layers"]} heads: {shape["heads"]} width: {shape["width"]} context: {shape["context"]} vocabulary: {shape["vocabulary"]} }}
data {{ train: "{tokens}" }}
batch {{ micro_batch: {shape["rows"]} micro_batches: 2 }}
optimizer {{ learning_rate: 3e-4 }}
checkpoint {{ every_steps: 0 }}
evaluation {{ every_steps: 0 }}
dist {{ threads: {threads} }}
""")
    out = tempfile.mkdtemp(dir=folder)
    command = [binary, "pretrain", "--config", config, "--out", out, "--json"]
    environment = dict(os.environ)
    if ranks > 1:
        command = ["mpirun", "-np", str(ranks)] + command
        environment.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
    seen = {}
    watcher = threading.Thread(target=watch, args=(process, os.path.join(out, "metrics.jsonl"), seen))
    watcher.start()
    _, errors = process.communicate()
    watcher.join()
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{errors}")
    with open(os.path.join(out, "metrics.jsonl")) as file:
        steps = [line for line in map(json.loads, file) if "seconds" in line][WARM_UP:]
    per_step = statistics.median(step["seconds"] for step in steps)
    first = seen.get("first", {})
    spent = [(name, value - first.get(thread, (name, 0.0))[1]) for thread, (name, value) in seen["last"].items()]
    everything = sum(value for _, value in spent)
    communication = sum(value for name, value in spent if name == COMMUNICATION)
    start = sum(value for name, value in first.values() if name == COMMUNICATION)
    return dict(tokens_per_second=2 * shape["rows"] * shape["context"] / per_step,
                exposed=statistics.median(step["exposed_seconds"] for step in steps) / per_step,
                communication_thread=communication / everything if everything > 0 else 0.0,
                start_of_communication=start / ranks)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tsugi", required=True)
    parser.add_argument("--out")
    parser.add_argument("--shapes", default="small,nanogpt,medium")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    report = dict(date=str(date.today()), machine=processor(), rounds=arguments.rounds,
                  commit=subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip(), rows=[])
    for name in arguments.shapes.split(","):
        sides = {(1, 2): [], (2, 1): []}
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(arguments.rounds):
                for (ranks, threads), results in sides.items():
                    results.append(run(os.path.abspath(arguments.tsugi), SHAPES[name], ranks, threads, folder))
        middle = {side: {key: statistics.median(result[key] for result in results) for key in results[0]} for side, results in sides.items()}
        row = dict(shape=name, one_rank_two_threads=round(middle[1, 2]["tokens_per_second"], 1),
                   two_ranks_one_thread=round(middle[2, 1]["tokens_per_second"], 1),
                   ratio=round(middle[2, 1]["tokens_per_second"] / middle[1, 2]["tokens_per_second"], 3),
                   exposed_part_of_a_step=round(middle[2, 1]["exposed"], 4),
                   communication_thread_part_of_cpu_time=round(middle[2, 1]["communication_thread"], 4),
                   communication_thread_seconds_before_the_first_step=round(middle[2, 1]["start_of_communication"], 4))
        report["rows"].append(row)
        print(json.dumps(row), flush=True)
        if arguments.out:
            with open(arguments.out, "w") as file:
                json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
