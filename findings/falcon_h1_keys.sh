#!/usr/bin/env bash
# One would guess: mlx-lm folds every multiplier of a Falcon-H1 config into the weights, as its comment says, so that the
# keys of the attention are multiplied by `key_multiplier`.
# What happens: `sanitize` looks for a tensor named `key_proj`, which no checkpoint has (it is `k_proj`, and the branch for
# that comes before): keys are multiplied by `attention_in_multiplier` only, values by nothing.
# Whom it hurts: everyone who runs Falcon-H1 (key_multiplier 0.39 in Falcon-H1-0.5B): attention is 2.5 times too sharp.
# Source: mlx_lm/models/falcon_h1.py, Model.sanitize; transformers' modeling_falcon_h1.py, FalconH1Attention.forward.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet mlx-lm==0.32.2 "mlx[cpu]==0.32.4"

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata as metadata
import sys

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.models.falcon_h1 import Model, ModelArgs

print("mlx-lm", metadata.version("mlx-lm"), "mlx", metadata.version("mlx"))
args = ModelArgs(
    hidden_size=64, intermediate_size=64, num_attention_heads=4, num_key_value_heads=2, head_dim=16, num_hidden_layers=1,
    vocab_size=32, mamba_d_ssm=64, mamba_n_heads=4, mamba_d_head=16, mamba_d_state=8,
    attention_in_multiplier=1.0, key_multiplier=0.39,
)
model = Model(args)
published = {
    name: mx.ones(array.shape if "conv1d.weight" not in name else (array.shape[0], 1, array.shape[1]))
    for name, array in tree_flatten(model.parameters())
}
folded = model.sanitize(published)["model.layers.0.self_attn.k_proj.weight"]
print("keys are multiplied by", folded.max().item(), "and the config says", args.key_multiplier)
sys.exit(0 if folded.max().item() == 1.0 else 1)
PYTHON
