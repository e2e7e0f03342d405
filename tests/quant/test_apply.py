"""What every layer becomes: the architecture's own wishes beside any format that is asked for."""

from __future__ import annotations

import ast
import functools
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm.models
import pytest
from tiny_networks import llama

from edgelm.quant.apply import completed, decide
from edgelm.quant.scheme import BLOCK_MODES, Scheme

MODELS = Path(mlx_lm.models.__path__[0])


@functools.cache
def wishes() -> dict[str, dict[str, Any]]:
    """The settings that architectures of mlx-lm ask for, as their files have them, by file."""
    found = {}
    for path in sorted(MODELS.glob("*.py")):
        text = path.read_text()
        for function in ast.walk(ast.parse(text)) if "def quant_predicate" in text else ():
            if isinstance(function, ast.FunctionDef) and function.name == "quant_predicate":
                for node in ast.walk(function):
                    if isinstance(node, ast.Return) and isinstance(node.value, ast.Dict):
                        found[path.stem] = ast.literal_eval(node.value)
    return found


@pytest.mark.parametrize("mode", ["affine", *BLOCK_MODES])
def test_what_every_architecture_wishes_goes_with_every_mode(mode: str) -> None:
    wished = wishes()
    assert len(wished) >= 23
    for chosen in wished.values():
        settings = completed(chosen, Scheme(mode))
        assert settings["bits"] == chosen["bits"]
        assert settings["mode"] == "affine"
        mx.eval(mx.quantize(mx.ones((4, 128)), **settings))


@pytest.mark.parametrize("mode", BLOCK_MODES)
def test_a_mode_that_is_wished_for_is_kept(mode: str) -> None:
    bits, group_size = BLOCK_MODES[mode]
    assert completed({"mode": mode}, Scheme(mode)) == {"mode": mode, "bits": bits, "group_size": group_size}


def test_wishes_stand_beside_the_mode_that_is_asked_for() -> None:
    network = llama()
    decision = decide(
        network,
        Scheme("mxfp4"),
        lambda path, _: {"group_size": 32, "bits": 8} if path.endswith("up_proj") else True,
    )
    up = decision.layers["model.layers.0.mlp.up_proj"]
    assert up == {"group_size": 32, "bits": 8, "mode": "affine"}
    assert decision.layers["model.layers.0.mlp.gate_proj"] == Scheme("mxfp4").settings
