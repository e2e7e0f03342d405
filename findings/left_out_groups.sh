#!/usr/bin/env bash
# One would guess: with groups of experts (DeepSeek-V3, GLM-4.5, …), no expert of a group that was left out is chosen.
# What happens: their scores are set to 0, not to minus infinity. A correction bias can make the scores of all kept
# groups negative; then the zeros win, and experts of the groups that were left out answer.
# Whom it hurts: models whose correction biases are negative. mlx-lm's bailing_hybrid.py says so in a comment and fills
# with -inf; nine other files (deepseek_v3, deepseek_v32, dots1, exaone_moe, glm4_moe, glm4_moe_lite, kimi_linear,
# mimo_v2_flash, nemotron_h) fill with 0.
# Source: mlx_lm/models/deepseek_v3.py, group_expert_select; DeepSeek's own inference/model.py fills with -inf.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet mlx-lm==0.32.2 "mlx[cpu]==0.32.4"

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata as metadata
import sys

import mlx.core as mx
from mlx_lm.models.deepseek_v3 import group_expert_select

print("mlx-lm", metadata.version("mlx-lm"), "mlx", metadata.version("mlx"))
gates = mx.array([[[2.0, 1.0, 1.5, 1.2, -2.0, -2.0, -2.0, -2.0]]])  # four groups of two; the first two are the best
bias = mx.full((8,), -2.0)  # the same for all: nothing about the order changes
chosen, _ = group_expert_select(gates, bias, 2, 4, 2, 1.0, True)
print("experts 0 to 3 are in the kept groups; chosen are", sorted(chosen.flatten().tolist()))
sys.exit(0 if min(chosen.flatten().tolist()) > 3 else 1)
PYTHON
