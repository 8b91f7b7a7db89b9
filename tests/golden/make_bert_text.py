"""core/data/tokenizer/bert_differences.inc: what Hugging Face's BertNormalizer and BertPreTokenizer take a character for,
where that is not what its general category in unicode_categories.inc (Unicode 16) says, for their tables are older.

Asks them for every character whether it is dropped (1), punctuation (2), or a nonspacing mark that strip_accents drops (4).

    python make_bert_text.py > ../../core/data/tokenizer/bert_differences.inc

With --lowercase writes the small letters that Python's own Unicode (14 in Python 3.11) does not know, and older versions of
utf8proc neither:

    python make_bert_text.py --lowercase > ../../core/data/tokenizer/later_lowercase.inc

Made with tokenizers 0.23.3.
"""

import pathlib
import sys

from tokenizers import normalizers, pre_tokenizers

CATEGORIES = "Cn Cc Cf Co Cs Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp".split()
ROOT = pathlib.Path(__file__).parent.parent.parent


def categories():
    text = (ROOT / "core/data/tokenizer/unicode_categories.inc").read_text()
    entries = [int(word, 16) for line in text.splitlines() if not line.startswith("//") for word in line.replace(",", " ").split()]
    result = []
    for entry, following in zip(entries, entries[1:] + [0x110000 << 8]):
        result += [CATEGORIES[entry & 0xFF]] * ((following >> 8) - (entry >> 8))
    return result


def differences():
    clean = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    strip = normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False)
    split = pre_tokenizers.BertPreTokenizer()
    found = []
    for c, category in enumerate(categories()):
        if category == "Cs" or c < 0x80 or c == 0xFFFD:
            continue
        ours = 1 if category in ("Cc", "Cf", "Co") else 2 if category[0] == "P" else 4 if category == "Mn" else 0
        text = f"a{chr(c)}b"
        theirs = (clean.normalize_str(text) == "ab") + 4 * (strip.normalize_str(text) == "ab")
        theirs += 2 * (len(split.pre_tokenize_str(text)) == 3)
        if ours != theirs:
            found.append((c, theirs))
    print("// Made by tests/golden/make_bert_text.py: first and last code point, classes, ascending.")
    ranges = []
    for c, classes in found:
        if ranges and ranges[-1][1] + 1 == c and ranges[-1][2] == classes:
            ranges[-1][1] = c
        else:
            ranges.append([c, c, classes])
    for at in range(0, len(ranges), 5):
        print(" ".join(f"{{0x{first:X}, 0x{last:X}, {classes}}}," for first, last, classes in ranges[at : at + 5]))


def lowercase():
    lower = normalizers.Lowercase()
    print("// Made by tests/golden/make_bert_text.py --lowercase: a letter and its small one, ascending.")
    pairs = []
    for c in range(0x80, 0x110000):
        if 0xD800 <= c <= 0xDFFF:
            continue
        small = lower.normalize_str(chr(c))
        if len(small) == 1 and small != chr(c).lower():
            pairs.append((c, ord(small)))
    for at in range(0, len(pairs), 6):
        print(" ".join(f"{{0x{a:X}, 0x{b:X}}}," for a, b in pairs[at : at + 6]))


if sys.argv[1:] == ["--lowercase"]:
    lowercase()
else:
    differences()
