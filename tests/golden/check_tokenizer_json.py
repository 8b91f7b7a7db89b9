"""tokenizer.json of the byte and character tokenizers against Hugging Face's own libraries.

Builds both tokenizers with the `tokenizers` library, saves them, loads the files again with `tokenizers` and
`transformers`, and checks on mixed Unicode that ids are byte values and ranks of code points, and that decoding gives
the text back. The saved files and the ids are the golden files of tests/core/data/tokenizer_test.cpp, which demands that
our tokenizer.json says the same, element for element.

    python check_tokenizer_json.py            check, and compare with the golden files
    python check_tokenizer_json.py --write    write them
    python check_tokenizer_json.py FOLDER     check FOLDER/tokenizer.json (as `tsugi prepare` writes it)

Made with tokenizers 0.23.3 and transformers 5.23.0.
"""

import json
import pathlib
import sys

import tokenizers
import transformers
from tokenizers import decoders, models, pre_tokenizers

HERE = pathlib.Path(__file__).parent
TEXTS = [
    "First Citizen:\nBefore we proceed any further, hear me speak.\n\n",
    "Zażółć gęślą jaźń, größer, naïve e\u0301, \ttab\r\n",
    "世界 こんにちは 안녕 שלום مرحبا",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🇨🇭 \U0001F600",
    "\ufeffa\u2028b\u0000c\u00a0d\u00ade \u0120\u010a  ",
    " 1234  'll n't <unk> [UNK] <|endoftext|> .,?!\f",
    "",
]


def bytes_to_unicode():
    """GPT-2's encoder.py."""
    own = list(range(ord("!"), ord("~") + 1)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100))
    rest = [b for b in range(256) if b not in own]
    table = {b: chr(b) for b in own}
    table.update({b: chr(256 + i) for i, b in enumerate(rest)})
    return table


def byte_tokenizer():
    table = bytes_to_unicode()
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab={table[b]: b for b in range(256)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def character_tokenizer(characters):
    vocabulary = {c: i for i, c in enumerate(characters)}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(vocab=vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def check(path, expected_ids, texts):
    fast = transformers.PreTrainedTokenizerFast(tokenizer_file=str(path))
    plain = tokenizers.Tokenizer.from_file(str(path))
    for text in texts:
        expected = expected_ids(text)
        assert plain.encode(text).ids == expected, (path, text)
        assert fast(text)["input_ids"] == expected, (path, text)
        assert plain.decode(expected) == text, (path, text)
        assert fast.decode(expected) == text, (path, text)


def check_folder(folder):
    path = pathlib.Path(folder) / "tokenizer.json"
    vocabulary = json.loads(path.read_text())["model"]["vocab"]
    if "A" in vocabulary and vocabulary["A"] == 65 and len(vocabulary) == 256:
        check(path, lambda text: list(text.encode()), TEXTS)
    else:
        characters = "".join(vocabulary)
        check(path, lambda text: [vocabulary[c] for c in text], [characters, characters[::-1] * 3, ""])


def same(path, text, write):
    if write:
        path.write_text(text)
    else:
        assert path.read_text() == text, f"{path} differs from what the libraries write now"


def main():
    arguments = sys.argv[1:]
    write = arguments == ["--write"]
    if arguments and not write:
        check_folder(arguments[0])
        return
    characters = sorted(set("".join(TEXTS)))
    rank = {c: i for i, c in enumerate(characters)}
    for name, tokenizer, ids in (
        ("bytes", byte_tokenizer(), lambda text: list(text.encode())),
        ("characters", character_tokenizer(characters), lambda text: [rank[c] for c in text]),
    ):
        path = HERE / f"tokenizer_{name}.json"
        same(path, tokenizer.to_str(pretty=True) + "\n", write)
        check(path, ids, TEXTS)
        cases = [{"text": text, "ids": tokenizer.encode(text).ids} for text in TEXTS]
        same(HERE / f"tokenizer_{name}_cases.json", json.dumps(cases) + "\n", write)


main()
print("ok")
