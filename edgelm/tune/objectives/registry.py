"""Every loss by the name that settings and `--loss` call it. Imports none of them until it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgelm.tune.objectives.objective import Objective
    from edgelm.tune.objectives.settings import ObjectiveSettings

OBJECTIVES: Mapping[str, str] = {
    "sft": "supervised.Supervised",
    "dpo": "preference.dpo.DPO",
    "hinge": "preference.dpo.Hinge",
    "robust": "preference.dpo.Robust",
    "ipo": "preference.dpo.IPO",
    "kto": "preference.kto.KTO",
    "orpo": "preference.orpo.ORPO",
    "cpo": "preference.cpo.CPO",
    "cpo_hinge": "preference.cpo.CPOHinge",
    "cpo_ipo": "preference.cpo.CPOIPO",
    "simpo": "preference.cpo.SimPO",
}
"""Name → module of this package and class in it. The losses of rows that files hold; `grpo.GRPO` is made by whoever samples."""


def make_objective(settings: ObjectiveSettings) -> Objective:
    """Make the objective that the settings ask for."""
    module, _, kind = OBJECTIVES[settings.loss].rpartition(".")
    objective: Objective = getattr(importlib.import_module(f"edgelm.tune.objectives.{module}"), kind)(
        settings
    )
    return objective
