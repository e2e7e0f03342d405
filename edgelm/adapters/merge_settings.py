"""How adapters are merged: apart from the merging, so that `--help` needs no MLX."""

from __future__ import annotations

from dataclasses import dataclass

from edgelm.options import Options, option

METHODS = ("concat", "linear", "ties", "dare", "slerp")


@dataclass(frozen=True)
class MergeSettings(Options):
    """How adapters are merged."""

    method: str = option("concat", "concat, linear, ties, dare or slerp", choices=METHODS)
    rank: int | None = option(
        None, "rank of the result; default the largest of them, concat: their sum", ge=1
    )
    density: float = option(0.5, "ties and dare: share of the change that is kept", gt=0, le=1)
    seed: int = option(0, "dare: which is dropped", ge=0)
