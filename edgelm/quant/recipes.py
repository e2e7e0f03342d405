"""Which layers get which width: mlx-lm's mixed recipes.

The layers that llama.cpp's Q4_K_M raises (value and down projections of the first and last eighth and of
every third layer between, and the head) take the high width, everything else the low one.
Source: mlx_lm/convert.py, mixed_quant_predicate_builder, kept equal by a test.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from edgelm.errors import UnsupportedError

RECIPES = {"mixed_2_6": (2, 6), "mixed_3_4": (3, 4), "mixed_3_6": (3, 6), "mixed_4_6": (4, 6)}
"""Name → (low bits, high bits)."""

Predicate = Callable[[str, Any], "bool | dict[str, Any]"]
"""(module path, module) → quantize with the default, not at all, or with these settings."""

RAISED = ("v_proj", "v_a_proj", "v_b_proj", "down_proj")


def mixed_predicate(recipe: str, paths: Iterable[str], layers: int, group_size: int) -> Predicate:
    """Build the predicate of `recipe` for a network of `layers` layers with modules at `paths`.

    Raises:
        UnsupportedError: the network has no `down_proj`, which the recipe is built around.
    """
    low, high = RECIPES[recipe]
    if not any("down_proj" in path for path in paths):
        raise UnsupportedError(
            f"recipe {recipe} needs layers named down_proj, and this architecture has none"
        )

    def choose(path: str, _: Any) -> dict[str, Any]:
        raised = "lm_head" in path or (
            any(name in path for name in RAISED) and _is_raised(_layer(path), layers)
        )
        return {"group_size": group_size, "bits": high if raised else low, "mode": "affine"}

    return choose


def _layer(path: str) -> int:
    match = re.search(r"(?:^|\.)(\d+)(?:\.|$)", path)
    return int(match.group(1)) if match else 0


def _is_raised(index: int, layers: int) -> bool:
    eighth = layers // 8
    return index < eighth or index >= 7 * layers // 8 or (index - eighth) % 3 == 2
