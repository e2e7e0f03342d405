#!/usr/bin/env bash
# One would guess: mlx-lm's parser of Mistral's tool calls reads the form with a call's id, which mistral-common's
# tokenizer v11 writes (Mistral Small 3.1 and 3.2, Devstral): [TOOL_CALLS]name[CALL_ID]id[ARGS]{…}.
# What happens: the id is taken for the name of the function, and no error is raised.
# Whom it hurts: everyone who lets such a model call functions through mlx-lm; the call goes to a function that is not there.
# Source: mlx_lm/tool_parsers/mistral.py, whose header is `([\w-]+)\s*\[ARGS\]`; mistral-common's InstructTokenizerV11.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-deps mlx-lm==0.32.2 regex==2024.11.6

# The parser alone needs nothing of MLX: it is run as a file, without the package around it.
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import importlib.metadata as metadata
import importlib.util
import sys
from pathlib import Path

print("mlx-lm", metadata.version("mlx-lm"), "regex", metadata.version("regex"))
(path,) = Path(sys.argv[1]).glob("venv/lib/python*/site-packages/mlx_lm/tool_parsers/mistral.py")
spec = importlib.util.spec_from_file_location("mistral", path)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)

text = 'weather[CALL_ID]a1b2c3d4e[ARGS]{"city": "Paris"}'
call = module.parse_tool_call(text)
print("written:", text)
print("read:   ", call)
sys.exit(0 if call == {"name": "a1b2c3d4e", "arguments": {"city": "Paris"}} else 1)
PYTHON
