"""Which loss a run trains."""

from __future__ import annotations

from dataclasses import dataclass

from edgelm.options import Options, option
from edgelm.tune.objectives.registry import OBJECTIVES


@dataclass(frozen=True)
class ObjectiveSettings(Options):
    """What the network learns from the data.

    Raises:
        OptionError: a setting outside what it may be.
    """

    loss: str = option("sft", "what is learnt: sft imitates the answers", choices=tuple(OBJECTIVES))
