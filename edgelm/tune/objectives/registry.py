"""Every loss by the name that settings and `--loss` call it. Imports none of them until it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgelm.tune.objectives.objective import Objective

OBJECTIVES: Mapping[str, str] = {
    "sft": "supervised.Supervised",
}
"""Name → module of this package and class in it."""


def make_objective(name: str) -> Objective:
    """Make the objective of that name, which must be one of `OBJECTIVES`."""
    module, _, kind = OBJECTIVES[name].partition(".")
    objective: Objective = getattr(importlib.import_module(f"edgelm.tune.objectives.{module}"), kind)()
    return objective
