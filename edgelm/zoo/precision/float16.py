"""bfloat16 parameters as float16, where that is faster and loses nothing that counts.

M1 and M2 have no bfloat16 arithmetic; there float16 is 1.3 to 1.8 times as fast. float16 has three more bits of precision,
so that a value in its range is the same number; it ends at 65504, and below 2^-14 its numbers lie 2^-24 apart.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx.utils import tree_unflatten

from edgelm import log
from edgelm.zoo.precision.families import needs_bfloat16
from edgelm.zoo.protocol import may_cast
from edgelm.zoo.stop import check_stop
from edgelm.zoo.tree import flat_parameters, number

LARGEST = 65504.0
TOLERANCE = 2.0**-9
"""Relative error of a parameter as a whole: what rounding it to bfloat16 has cost already."""

_TOGETHER = 32
"""Parameters looked at before Python waits."""
_said: set[str] = set()


@dataclass(frozen=True)
class Kept:
    """Why a model stays in bfloat16."""

    reason: str


def use_float16(
    network: Any, config: Mapping[str, Any], name: str, stop: threading.Event | None = None
) -> Kept | None:
    """Cast the bfloat16 parameters of `network` to float16 in place, unless it needs the range of bfloat16; says so once.

    All or none: one parameter in bfloat16 beside float16 would make MLX compute in float32. What is not bfloat16, and
    what the architecture's `cast_predicate` leaves out, stays.

    Args:
        name: what the model is called in what is said.
        stop: looked at between parameters; set, it ends the cast.

    Returns:
        Why nothing was cast; None where it was, or where there is nothing to cast.

    Raises:
        Interrupted: `stop` was set.
    """
    found = {
        path: value
        for path, value in flat_parameters(network).items()
        if value.dtype == mx.bfloat16 and may_cast(network, path)
    }
    if not found:
        return None
    kept = _reason(found, config, stop)
    if kept is not None:
        _say(name, f"{name} runs in bfloat16, which is slower on this chip: {kept.reason}")
        return kept
    for path, value in found.items():
        check_stop(stop)
        cast = value.astype(mx.float16)
        mx.eval(cast)
        network.update(tree_unflatten([(path, cast)]))
    _say(
        name,
        f"{name} is stored in bfloat16 and runs in float16, which is faster on this chip (--dtype bfloat16 keeps it)",
    )
    return None


def _say(name: str, text: str) -> None:
    """Once a model in this process."""
    if name not in _said:
        _said.add(name)
        log.logger.warning("%s", text)


def _reason(
    found: Mapping[str, mx.array], config: Mapping[str, Any], stop: threading.Event | None
) -> Kept | None:
    if needs_bfloat16(config):
        return Kept(f"activations of {config.get('model_type')} overflow float16")
    for path, largest, lost in _measured(found, stop):
        if not largest <= LARGEST:
            return Kept(f"{path} holds {largest:.4g}, beyond float16's {LARGEST:.0f}")
        if lost > TOLERANCE:
            return Kept(f"{path} is so small that float16 would lose {lost:.1%} of it")
    return None


def _measured(
    found: Mapping[str, mx.array], stop: threading.Event | None
) -> Iterator[tuple[str, float, float]]:
    """(path, largest magnitude, relative error of the cast) of every parameter."""
    paths = list(found)
    for start in range(0, len(paths), _TOGETHER):
        check_stop(stop)
        part = paths[start : start + _TOGETHER]
        measures = [_measure(found[path]) for path in part if found[path].size]
        mx.eval(measures)
        for path, measure in zip((path for path in part if found[path].size), measures, strict=True):
            largest, error, size = (number(part) for part in measure)
            yield path, largest, error / size if size else 0.0


def _measure(value: mx.array) -> mx.array:
    """[largest, ‖float16(v) − v‖, ‖v‖], the norms in units of the largest value so that no square is lost."""
    whole = value.astype(mx.float32)
    largest = mx.abs(whole).max()
    unit = mx.where(largest > 0, largest, 1.0)
    error = (value.astype(mx.float16).astype(mx.float32) - whole) / unit
    whole = whole / unit
    return mx.stack([largest, mx.sqrt(mx.square(error).sum()), mx.sqrt(mx.square(whole).sum())])
