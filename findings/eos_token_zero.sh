#!/usr/bin/env bash
# One would guess: where generation_config.json says `"eos_token_id": 0`, answers end at token 0, as in transformers: the end of
# text is 0 in GPT-NeoX's tokenizer (Pythia, Mamba, RWKV) and in those of StarCoder and SmolLM.
# What happens: mlx-lm drops a 0 there, and stops at what config.json has instead; every other id, and [0], is taken.
# Whom it hurts: everyone whose fine-tune changes the stop in generation_config.json alone: answers run on to the limit.
# Source: mlx_lm/utils.py, load_config: `if eos_token_id := generation_config.get("eos_token_id", False)`.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-deps mlx-lm==0.32.2

# The functions alone need nothing of MLX: they are run as they stand in the file, without the package around them.
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import ast
import importlib.metadata as metadata
import json
import math
import sys
from pathlib import Path
from typing import Any

print("mlx-lm", metadata.version("mlx-lm"))
(path,) = Path(sys.argv[1]).glob("venv/lib/python*/site-packages/mlx_lm/utils.py")
wanted = {"load_config", "_decode_tagged_floats", "_FLOAT_TAG_KEY", "_FLOAT_TAGS"}


def name_of(node: ast.stmt) -> str:
    return node.targets[0].id if isinstance(node, ast.Assign) else getattr(node, "name", "")


tree = ast.parse(path.read_text())
tree.body = [node for node in tree.body if name_of(node) in wanted]
names = {"json": json, "math": math, "Path": Path, "Any": Any}
exec(compile(tree, str(path), "exec"), names)

model = Path(sys.argv[1])
(model / "config.json").write_text('{"eos_token_id": 5}')
read = {}
for said in (0, 7, [0]):
    (model / "generation_config.json").write_text(json.dumps({"eos_token_id": said}))
    read[str(said)] = names["load_config"](model)["eos_token_id"]
    print("generation_config.json says", said, "and mlx-lm stops at", read[str(said)])
sys.exit(0 if read == {"0": 5, "7": 7, "[0]": [0]} else 1)
PYTHON
