#!/usr/bin/env python3
"""Bytes per second of encoding on one core, beside Hugging Face `tokenizers`, alternating in one run.

Question: how fast does one thread turn text that it has not seen into ids, with the same tokenizer.json?
Usage: benchmarks/tokenizer.py --tsugi build/release/tsugi --benchmark build/release/benchmarks/benchmark_tokenizer \
           --text english=corpus/en.txt,… --text code=core,… [--out benchmarks/results/FILE.json]
Needs `tokenizers` in the Python that runs it (never needed by tsugi itself).

Every --text KIND=PATH,… names files, or folders of text or source files; a file is cut at blank lines into documents of about
4 KB, and these are dealt out by turns: even ones train the vocabulary (all kinds together) and warm each tokenizer up, odd ones
are timed. Each round loads the tokenizer anew, so that no timed text was seen before; contenders take turns, on one and the
same core; the figure is the median of the rounds' CPU time. Theirs is the faster of encode() and encode_batch_fast() (which
keeps no offsets), without the making of Python lists of ids.
"""
import argparse, json, os, pathlib, statistics, subprocess, sys, tempfile, time
from datetime import date

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

SOURCES = {".txt", ".md", ".h", ".cpp", ".py", ".sh", ".proto", ".textproto"}


def documents_of(paths):
    files = []
    for path in map(pathlib.Path, paths):
        files += sorted(p for p in path.rglob("*") if p.is_file() and p.suffix in SOURCES) if path.is_dir() else [path]
    result = []
    for file in files:
        document = ""
        for part in file.read_text(errors="replace").split("\n\n"):
            document += part + "\n\n"
            if len(document.encode()) >= 4096:
                result.append(document)
                document = ""
        if document.strip():
            result.append(document)
    return result


def write_lines(path, texts):
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def theirs(path, warm, texts, how):
    import tokenizers
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    encode = (lambda batch: [tokenizer.encode(text) for text in batch]) if how == "encode" else tokenizer.encode_batch_fast
    encode(warm)
    start = time.thread_time()
    encodings = encode(texts)
    seconds = time.thread_time() - start
    return seconds, sum(len(encoding) for encoding in encodings)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tsugi", required=True)
    parser.add_argument("--benchmark", required=True)
    parser.add_argument("--text", action="append", required=True, metavar="KIND=PATH,…")
    parser.add_argument("--vocabulary", type=int, default=32768)
    parser.add_argument("--patterns", default="gpt2,llama3,o200k")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    import tokenizers

    texts = {kind: documents_of(paths.split(",")) for kind, paths in (one.split("=", 1) for one in arguments.text)}
    warm = {kind: all_of[::2] for kind, all_of in texts.items()}
    timed = {kind: all_of[1::2] for kind, all_of in texts.items()}
    for parts in (warm, timed):
        # By turns, so that the mixture is one throughout.
        parts["mixed"] = [text for _, _, text in sorted(
            (i / len(all_of), kind, text) for kind, all_of in parts.items() for i, text in enumerate(all_of))]
    processor = next(line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    report = dict(date=str(date.today()), machine=processor, cores=1, tokenizers=tokenizers.__version__, vocabulary=arguments.vocabulary,
                  commit=subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip(),
                  timed_bytes={kind: sum(len(text.encode()) for text in all_of) for kind, all_of in timed.items()}, rows=[])
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for kind in timed:
            write_lines(folder / f"warm_{kind}.jsonl", warm[kind])
            write_lines(folder / f"timed_{kind}.jsonl", timed[kind])
        corpus = folder / "corpus"
        corpus.mkdir()
        for number, text in enumerate(warm["mixed"]):
            (corpus / f"{number:06}.txt").write_text(text)
        os.sched_setaffinity(0, {arguments.core})
        for pattern in arguments.patterns.split(","):
            out = folder / pattern
            subprocess.run([arguments.tsugi, "tokenizer", "train", "--text", str(corpus), "--out", str(out), "--vocabulary",
                            str(arguments.vocabulary), "--pattern", pattern, "--json"], check=True, stdout=subprocess.DEVNULL)
            path = out / "tokenizer.json"
            for kind in timed:
                seconds = {"tsugi": [], "encode": [], "encode_batch_fast": []}
                for _ in range(arguments.rounds):
                    ours = json.loads(subprocess.run(
                        [arguments.benchmark, str(path), str(folder / f"warm_{kind}.jsonl"), str(folder / f"timed_{kind}.jsonl"), "1"],
                        check=True, stdout=subprocess.PIPE).stdout)
                    seconds["tsugi"] += ours["seconds"]
                    for how in ("encode", "encode_batch_fast"):
                        taken, tokens = theirs(path, warm[kind], timed[kind], how)
                        if tokens != ours["tokens"]:
                            sys.exit(f"{pattern}, {kind}: {ours['tokens']} ids, where {how} gives {tokens}")
                        seconds[how].append(taken)
                rate = {name: ours["bytes"] / statistics.median(values) / 1e6 for name, values in seconds.items()}
                best = max(rate["encode"], rate["encode_batch_fast"])
                row = dict(pattern=pattern, text=kind, bytes_per_token=round(ours["bytes"] / ours["tokens"], 2),
                           tsugi_mb_per_s=round(rate["tsugi"], 1), hugging_face_mb_per_s=round(best, 2), ratio=round(rate["tsugi"] / best, 1))
                report["rows"].append(row)
                print(json.dumps(row), flush=True)
    if arguments.out:
        pathlib.Path(arguments.out).write_text(json.dumps(report, indent=1) + "\n")


main()
