"""Every loss by the name that settings and `--loss` call it. Imports none of them."""

from __future__ import annotations

from collections.abc import Mapping

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
    "reward": "preference.reward.RewardLoss",
    "grpo": "grpo.grpo_of",
}
"""Name → module of this package and what makes the loss in it, of `ObjectiveSettings`."""
