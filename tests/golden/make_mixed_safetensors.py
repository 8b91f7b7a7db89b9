"""Writes mixed.safetensors with the safetensors library: F32, BF16, F16, a scalar, an empty tensor and an I64."""

import pathlib

import torch
from safetensors.torch import save_file

f32 = torch.tensor([[0.0, -0.0, 1.5], [float("inf"), 1e-45, -3.4028234663852886e38]])
bf16 = torch.tensor([1.0, -2.5, 3.140625, float("-inf"), 9.183549615799121e-41], dtype=torch.bfloat16)
f16 = torch.tensor([1.0, -2.5, 65504.0, 5.960464477539063e-08, float("inf"), 0.333251953125, -0.0], dtype=torch.float16)
save_file(
    {
        "f32": f32,
        "bf16": bf16,
        "f16": f16,
        "scalar": torch.tensor(7.25),
        "empty": torch.zeros(0, 4),
        "i64": torch.tensor([1, -1]),
    },
    pathlib.Path(__file__).parent / "mixed.safetensors",
    metadata={"format": "pt", "made_by": "safetensors"},
)
