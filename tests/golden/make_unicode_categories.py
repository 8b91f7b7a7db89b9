"""core/data/tokenizer/unicode_categories.inc: the general category of every code point, as Hugging Face's regex engine has it.

Token ids must depend neither on the version of a system library nor on the machine, and must be those of Hugging Face
`tokenizers`, whose engine (Oniguruma 6.9.10) knows Unicode 16. Asks that engine for the 29 assigned categories and writes
the places where the category changes. Agreement with Python's unicodedata on what Unicode 14 assigned is asserted.

    python make_unicode_categories.py > ../../core/data/tokenizer/unicode_categories.inc

With --nfc writes the marks that Hugging Face's NFC takes for ordinary characters, because its tables are those of Unicode 9:

    python make_unicode_categories.py --nfc > ../../core/data/tokenizer/later_marks.inc

Made with tokenizers 0.23.3.
"""

import sys
import unicodedata

from tokenizers import Regex, normalizers, pre_tokenizers

CATEGORIES = "Cn Cc Cf Co Cs Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp".split()


# What composes since Unicode 13 and 16: by block, for the parts of a composition are letters and vowel signs.
LATER_COMPOSITIONS = [(0x11930, 0x11938), (0x11380, 0x113FF), (0x16100, 0x1613F), (0x16D40, 0x16D7F)]


def later_marks():
    text = "".join(chr(c) for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF)
    split = pre_tokenizers.Split(Regex(r"\p{M}+"), "removed", invert=True)
    nfc = normalizers.NFC().normalize_str
    later = set()
    for mark in (c for piece, _ in split.pre_tokenize_str(text) for c in piece):
        # A mark of any class but 0 changes places with a mark of class 1 or one of class 230.
        known = any(nfc(pair) != pair for pair in (f"\u0378{mark}\u0334", f"\u0378\u0301{mark}"))
        if not known and (unicodedata.combining(mark) or unicodedata.category(mark) == "Cn"):
            later.add(ord(mark))
    for first, last in LATER_COMPOSITIONS:
        later.update(range(first, last + 1))
    entries = [(c, next(d for d in range(c, 0x110000) if d + 1 not in later)) for c in sorted(later) if c - 1 not in later]
    print("// Made by tests/golden/make_unicode_categories.py --nfc: first and last code point, ascending.")
    for at in range(0, len(entries), 6):
        print(" ".join(f"{{0x{first:X}, 0x{last:X}}}," for first, last in entries[at : at + 6]))


def main():
    text = "".join(chr(c) for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF)
    category = [0] * 0x110000
    for c in range(0xD800, 0xE000):
        category[c] = CATEGORIES.index("Cs")
    for index, name in enumerate(CATEGORIES):
        if name in ("Cn", "Cs"):
            continue
        split = pre_tokenizers.Split(Regex(rf"\p{{{name}}}+"), "removed", invert=True)
        for piece, _ in split.pre_tokenize_str(text):
            for c in map(ord, piece):
                assert category[c] == 0, hex(c)
                category[c] = index
    changed = [c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", CATEGORIES[category[c]])]
    print("changed since Unicode", unicodedata.unidata_version, [hex(c) for c in changed], file=sys.stderr)
    assert len(changed) < 10
    entries = [(c, category[c]) for c in range(0x110000) if c == 0 or category[c] != category[c - 1]]
    print("// Made by tests/golden/make_unicode_categories.py: first code point << 8 | category, ascending.")
    for at in range(0, len(entries), 11):
        print(" ".join(f"0x{c << 8 | k:X}," for c, k in entries[at : at + 11]))


if sys.argv[1:] == ["--nfc"]:
    later_marks()
else:
    main()
