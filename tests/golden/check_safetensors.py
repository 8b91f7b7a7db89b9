"""Reads a checkpoint of tests/faults/checkpoint_program with the safetensors library, and its manifest with a CRC32C of our own.

    checkpoint_program save RUN 7 3000 0
    python check_safetensors.py RUN/checkpoints/step-00000007
"""

import json
import pathlib
import sys

import torch
from safetensors import safe_open

folder = pathlib.Path(sys.argv[1])
envelope = json.loads((folder / "manifest.json").read_text())
manifest = envelope["manifest"]


def crc32c(data: bytes) -> str:
    """Bit by bit, as RFC 3720 defines it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 & -(crc & 1))
    return f"{crc ^ 0xFFFFFFFF:08x}"


def expected(part: int, begin: int, count: int) -> torch.Tensor:
    index = torch.arange(begin, begin + count)
    return manifest["step"] + 0.25 * part + 64.0 * (index % 1021)


assert crc32c(json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()) == envelope["crc32c"]
for name, entry in manifest["files"].items():
    data = (folder / name).read_bytes()
    assert len(data) == entry["bytes"] and crc32c(data) == entry["crc32c"], name
    if not name.endswith(".safetensors"):
        continue
    with safe_open(folder / name, framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
        for key in file.keys():
            tensor = file.get_tensor(key)
            part = ["", "exp_avg", "exp_avg_sq"].index(key.partition("/")[0] if "/" in key else "")
            begin = int(key.rpartition("@")[2]) if part else 0
            assert tensor.dtype == torch.float32
            assert torch.equal(tensor, expected(part, begin, tensor.numel())), key
            print(f"{name}: {key} {list(tensor.shape)}")
print("all right")
