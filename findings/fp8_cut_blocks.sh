#!/usr/bin/env bash
# One would guess: transformers unpacks an FP8 weight in blocks of 128 x 128 by the block size that its config announces, so
# that 192 rows are a block of 128 and one of 64, as its own kernels and DeepSeek's `weight_dequant` take them.
# What happens: loading with `dequantize=True`, which is what a machine without a GPU gets, divides the rows evenly among the
# scales: 192 rows become 96 and 96, a quarter of which are multiplied by the wrong scale, and nothing is said; 576 rows under
# 5 scales (`kv_a_proj_with_mqa` of DeepSeek-V3) raise. The function for its backward pass, in the same file, has it right.
# Whom it hurts: everyone who loads a published FP8 model, whose sizes 128 does not divide, on a CPU.
# Source: transformers/integrations/finegrained_fp8.py, Fp8Dequantize._dequantize_one against _dequantize_fp8_weight;
# DeepSeek-V3, inference/kernel.py, weight_dequant_kernel.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 torch==2.13.0

"$folder/venv/bin/python" - <<'PYTHON'
import sys

import torch
import transformers
from transformers.integrations.finegrained_fp8 import Fp8Dequantize, FP8Linear, _dequantize_fp8_weight

print("transformers", transformers.__version__, "torch", torch.__version__)
layer = FP8Linear(128, 192, block_size=[128, 128])
weight = torch.ones(192, 128).to(torch.float8_e4m3fn)
scales = torch.tensor([[1.0], [2.0]])
assert layer.weight.shape == weight.shape
assert layer.weight_scale_inv.shape == scales.shape


def rows(values: torch.Tensor) -> list[int]:
    return values[:, 0].unique_consecutive(return_counts=True)[1].tolist()


loading = rows(Fp8Dequantize(None)._dequantize_one(weight, scales, torch.float32))
backward = rows(_dequantize_fp8_weight(weight, scales, [128, 128], torch.float32))
print("rows of each scale: loading", loading, "backward pass", backward)
try:
    Fp8Dequantize(None)._dequantize_one(torch.ones(576, 128).to(torch.float8_e4m3fn), torch.ones(5, 1))
    raises = False
except ValueError as error:
    print("576 rows:", error)
    raises = True
sys.exit(0 if loading == [96, 96] and backward == [128, 64] and raises else 1)
PYTHON
