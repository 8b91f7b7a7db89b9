"""The order of training samples, from the description in core/data/sampler.h alone, in plain Python integers.

Writes sampler.txt: lines of "tokens sequence seed index offset". Checkpoints hold only a step number, so these values
must never change.
"""

import pathlib

MASK32 = (1 << 32) - 1
PERMUTATION, SHIFT, ROUNDS = 0x53480000, 0x53490000, 8


def philox4x32(counter, key):
    """Salmon et al. 2011, table 2."""
    k0, k1 = key & MASK32, key >> 32
    c0, c1, c2, c3 = counter
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & MASK32, (p0 >> 32) ^ c3 ^ k1, p0 & MASK32
        k0, k1 = (k0 + 0x9E3779B9) & MASK32, (k1 + 0xBB67AE85) & MASK32
    return c0, c1, c2, c3


# Random123's known answers for ten rounds.
assert philox4x32((0, 0, 0, 0), 0) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
assert philox4x32((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), 0x299F31D0A4093822) == (
    0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)


def words(seed, sample, site, block):
    return philox4x32((block, site, sample & MASK32, sample >> 32), seed)


def permute(index, size, seed, stream):
    half = 1
    while (1 << (2 * half)) < size:
        half += 1
    mask = (1 << half) - 1
    while True:
        left, right = index >> half, index & mask
        for r in range(ROUNDS):
            left, right = right, left ^ (words(seed, stream, PERMUTATION + r, right)[0] & mask)
        index = left << half | right
        if index < size:
            return index


def offset(tokens, sequence, seed, index):
    windows = max(1, tokens // sequence - 1)
    epoch = index // windows
    high, low = words(seed, epoch, SHIFT, 0)[:2]
    shift = ((high << 32 | low) * (tokens - windows * sequence)) >> 64
    return shift + permute(index % windows, windows, seed, epoch) * sequence


with open(pathlib.Path(__file__).parent / "sampler.txt", "w") as out:
    for tokens, sequence, seed in ((1_000_000, 256, 1337), (300, 128, 0), (2**33 + 5, 1024, 2**63 + 1), (129, 128, 7)):
        for index in (0, 1, 2, 3905, 5000, 2**30, 2**40 + 3):
            print(tokens, sequence, seed, index, offset(tokens, sequence, seed, index), file=out)
