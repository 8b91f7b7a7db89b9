#!/usr/bin/env python3
"""Our Unigram (T5's tokenizer, SentencePiece's model) against Hugging Face `tokenizers`: the same ids for the same
tokenizer.json, and the same text back.

    check_unigram.py TSUGI [--lines 20000] [--seed 0] [--text FILE…] [--charsmap FILE]   # compares both programs
    check_unigram.py --write [--text FILE…]     # golden files of tests/core/data/unigram_tokenizer_test.cpp
    check_unigram.py --graphemes > ../../core/data/tokenizer/graphemes.inc

For each form (T5's own, that of transformers' converter of SentencePiece models, one with byte_fallback, and the elements'
other options) a vocabulary is trained by `tokenizers`. Their Precompiled normalizer reads a double array that no Python
library writes: `charsmap` does, here of Unicode's NFKC with SentencePiece's treatment of white space and control characters.
--charsmap takes the bytes of a published one ("normalizer_spec.precompiled_charsmap" of a .model file) instead. Run by hand.

Made with tokenizers 0.23.3.
"""

import argparse
import collections
import json
import pathlib
import random
import struct
import tempfile
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from check_tokenizer import BYTES, compare, lines_of, run, write_cases

HERE = pathlib.Path(__file__).parent
MARK = "▁"


def charsmap(rules):
    """A precompiled_charsmap of {bytes: text}: a darts-clone double array and the texts, each ended by a zero."""
    texts, places = bytearray(), {}
    for text in rules.values():
        if text not in places:
            places[text] = len(texts)
            texts += text.encode() + b"\0"
    root = [{}, None]
    for key, text in rules.items():
        node = root
        for byte in key:
            node = node[0].setdefault(byte, [{}, None])
        node[1] = places[text]
    units, free, bases = [], [], set()  # values; which are free; what is taken
    low = 0
    waiting = [(root, 0, 0)]  # node, its unit, its label

    def grow():
        units.extend([0] * 256)
        free.extend([True] * 256)

    grow()
    free[0] = False
    while waiting:
        node, at, label = waiting.pop()
        children, value = node
        labels = ([0] if value is not None else []) + sorted(children)
        base = low
        # Places differ from their base in the last eight bits.
        while True:
            if base + 256 > len(units):
                grow()
            if base and base not in bases and all(free[base ^ c] for c in labels):
                break
            base += 1
        bases.add(base)
        while low < len(free) and not free[low]:
            low += 1
        offset = at ^ base
        assert offset < 1 << 21
        units[at] = label | (value is not None) << 8 | offset << 10
        for c in labels:
            free[base ^ c] = False
        if value is not None:
            units[base] = 1 << 31 | value
        waiting += [(child, base ^ c, c) for c, child in children.items()]
    blob = struct.pack(f"<{len(units)}I", *units)
    return struct.pack("<I", len(blob)) + blob + bytes(texts)


def ranges(code_points):
    code_points = sorted(code_points)
    inside = set(code_points)
    firsts = [c for c in code_points if c - 1 not in inside]
    lasts = [c for c in code_points if c + 1 not in inside]
    return list(zip(firsts, lasts))


def graphemes():
    """Asks their Precompiled normalizer where clusters end: of a cluster of less than six bytes only the shortest rule
    that it begins with is left, so that what belongs to it is dropped."""
    every = [c for c in range(1, 0x110000) if not 0xD800 <= c <= 0xDFFF]
    a = normalizers.Precompiled(charsmap({b"a": "A"}))
    joined = {c for c in every if c != ord("a") and a.normalize_str("a" + chr(c)) == "A"}
    first = normalizers.Precompiled(charsmap({bytes([b]): "X" for b in range(1, 256)}))
    before = {c for c in every if first.normalize_str(chr(c) + "a") == "X"}  # Prepend
    # Four bytes and a mark are six: not told apart, and of no effect.
    control = {c for c in every if len(chr(c).encode()) < 4 and first.normalize_str(chr(c) + "\u0301") == "XX"}
    picture = {c for c in every if first.normalize_str("\u00a9\u200d" + chr(c)) == "XXX"}
    print("// Made by tests/golden/check_unigram.py --graphemes: first and last code point, class, ascending.")
    entries = [(*r, name) for name, group in (("kJoined", joined), ("kPrepend", before), ("kControl", control),
                                              ("kPicture", picture - joined)) for r in ranges(group)]
    entries.sort()
    for (_, last, _), (next_first, _, _) in zip(entries, entries[1:]):
        assert last < next_first
    for at in range(0, len(entries), 4):
        print(" ".join(f"{{0x{f:X}, 0x{l:X}, {n}}}," for f, l, n in entries[at : at + 4]))


def rules(small):
    """NFKC, white space as spaces and control characters as nothing, of single characters and of those that compose."""
    result = {}
    for c in range(1, 0x300 if small else 0x110000):
        if 0xD800 <= c <= 0xDFFF:
            continue
        one, normal = chr(c), unicodedata.normalize("NFKC", chr(c))
        if one in "\t\n\r\u00a0\u1680\u2028\u2029\u202f\u205f\u3000" or 0x2000 <= c <= 0x200A:
            normal = " "
        elif unicodedata.category(one) in ("Cc", "Cf"):
            normal = ""
        if normal != one:
            result[one.encode()] = normal
        parts = unicodedata.normalize("NFD", one)
        if len(parts) > 1 and unicodedata.normalize("NFC", parts) == one:
            result[parts.encode()] = one
    for one in "ﬁﷺ①ｱＡ㍿Å\u200b\u3000\u2028":
        result[one.encode()] = " " if one in "\u3000\u2028" else "" if one == "\u200b" else unicodedata.normalize("NFKC", one)
    return result


def forms(data):
    """Name → a tokenizer without a vocabulary. `data`: a precompiled_charsmap."""
    precompiled = normalizers.Precompiled(data)
    result = {}

    def add(name, normalizer, pre_tokenizer, decoder):
        tokenizer = Tokenizer(models.Unigram([("<unk>", 0.0)], 0, byte_fallback=name == "fallback"))
        if normalizer is not None:
            tokenizer.normalizer = normalizer
        tokenizer.pre_tokenizer = pre_tokenizer
        tokenizer.decoder = decoder
        result[name] = tokenizer

    def metaspace(scheme, split=True):
        return pre_tokenizers.Metaspace(MARK, scheme, split), decoders.Metaspace(MARK, scheme, split)

    pre, decoder = metaspace("always")
    add("t5", precompiled, pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre]), decoder)
    add("words", None, pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace("first")[0]]), metaspace("first")[1])
    collapse = normalizers.Replace(Regex(" {2,}"), MARK)
    add("converted", normalizers.Sequence([precompiled, normalizers.Strip(left=False, right=True), collapse]), *metaspace("first"))
    add("never", normalizers.Sequence([normalizers.Strip(), normalizers.NFC()]), *metaspace("never", False))
    add("fallback", normalizers.Replace(" ", MARK), pre_tokenizers.Split(MARK, "merged_with_next"), decoders.Sequence(
        [decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]))
    return result


def train(name, tokenizer, lines, size, extra):
    """By their trainer, with the vocabulary and the added tokens that transformers writes for T5."""
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=size, special_tokens=special + BYTES * (name == "fallback"), unk_token="<unk>",
                                      show_progress=False)
    # Every character of the text becomes a token: only the commonest are kept.
    common = {c for c, _ in collections.Counter("".join(lines)).most_common(size // 4)}
    text = ("".join(c for c in line if c in common) for text in lines for line in text.split("\n"))
    tokenizer.train_from_iterator(text, trainer)
    document = json.loads(tokenizer.to_str())
    document["model"]["unk_id"] = 2
    document["model"]["byte_fallback"] = name == "fallback"
    document["added_tokens"] = document["added_tokens"][:len(special)]
    if name in ("t5", "words"):  # in both lists, as theirs
        document["model"]["vocab"] += [[f"<extra_id_{i}>", 0.0] for i in reversed(range(extra))]
    if name == "t5":  # as published
        old = {"type": "Metaspace", "replacement": MARK, "add_prefix_space": True, "str_rep": MARK}
        document["pre_tokenizer"]["pretokenizers"][1] = document["decoder"] = old
        del document["model"]["byte_fallback"]
    tokenizer = Tokenizer.from_str(json.dumps(document))
    tokenizer.add_special_tokens([f"<extra_id_{i}>" for i in range(extra)])
    if name == "converted":
        tokenizer.add_tokens([AddedToken("<mask>", normalized=False, lstrip=True), AddedToken("tokeñ", normalized=True)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))])
    if name == "t5":  # what this library writes is the new form
        document |= {key: json.loads(tokenizer.to_str())[key] for key in ("added_tokens", "post_processor")}
        return json.dumps(document, ensure_ascii=False)
    return tokenizer.to_str()


def lines_like(count, seed, files):
    """Those of check_tokenizer.py, and what a map's rules and clusters make of marks, joiners and jamo."""
    rng = random.Random(seed)
    odd = ["e\u0301", "ﬁ\u0301", "\r\n", "Ａ\u3099", "\u1100\u1161", "\u0600a", "©\u200d©", "\U0001f1e6\U0001f1e7", "\u200b", "\u3000",
           "<unk>", "a<unk>b", "<extra_id_3>", "</s>", MARK, MARK * 3, "\u3042\u3099", "\u0bcd", "ﷺ", "\x00", "\u0301", "\ufeff"]
    lines = lines_of(count, seed, files)
    return ["".join(rng.choice(("", " ", line[:30])) + rng.choice(odd) for _ in range(rng.randrange(4))) + line
            if rng.random() < 0.5 else line for line in lines]


def check(tsugi, arguments):
    corpus = lines_of(8000, arguments.seed + 1, arguments.text)
    lines = lines_like(arguments.lines, arguments.seed, arguments.text)
    data = pathlib.Path(arguments.charsmap).read_bytes() if arguments.charsmap else charsmap(rules(False))
    print(f"map: {len(data)} bytes")
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        for name, tokenizer in forms(data).items():
            path = pathlib.Path(folder) / f"{name}.json"
            path.write_text(train(name, tokenizer, corpus, 4000, 100))
            theirs = Tokenizer.from_file(str(path))
            compare(tsugi, f"Unigram {name} (their vocabulary)", path, lines)
            size = theirs.get_vocab_size()
            ids = [[rng.randrange(size) for _ in range(rng.randrange(1, 12))] for _ in range(3000)]
            if name == "fallback":  # bytes that are no text: theirs are U+FFFD, ours the bytes
                byte = {theirs.token_to_id(name) for name in BYTES}
                ids = [[id for id in one if id not in byte] or [0] for one in ids]
            texts = [value["text"] for value in run(tsugi, "decode", path, [{"ids": one} for one in ids])]
            for one, got in zip(ids, texts):
                assert got == theirs.decode(one, skip_special_tokens=False), (name, one, got)
            print(f"Unigram {name}: {len(ids)} lists of random ids decoded alike")


def write(arguments):
    corpus = lines_of(300, 7, arguments.text)
    for name, tokenizer in forms(charsmap(rules(True))).items():
        path = HERE / f"tokenizer_unigram_{name}.json"
        path.write_text(json.dumps(json.loads(train(name, tokenizer, corpus, 600, 5)), ensure_ascii=False) + "\n")
        write_cases(Tokenizer.from_file(str(path)), HERE / f"tokenizer_unigram_{name}_cases.json", lines_like(60, 8, arguments.text))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tsugi", nargs="?")
    parser.add_argument("--lines", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--text", nargs="*", default=[])
    parser.add_argument("--charsmap")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--graphemes", action="store_true")
    arguments = parser.parse_args()
    if arguments.graphemes:
        return graphemes()
    if arguments.write:
        return write(arguments)
    if not arguments.tsugi:
        parser.error("which program?")
    check(arguments.tsugi, arguments)
    print("ok")


main()
