"""LongRoPE as transformers computes it: short factors up to the original context, long ones for sequences beyond it.

mlx-lm's `SuScaledRoPE` knows long factors only, and phi3 takes the original context for 4096 unless the outer config says
otherwise: logits of Phi-3, 3.5 and 4-mini are far off below it, and equal their own reading. Which factors a key was turned
by stays in a cache, so a sequence that is computed in pieces has to say at its start how long it will be (`Regime`). Source:
transformers 5.24, modeling_rope_utils.py, `_compute_longrope_parameters`, `longrope_frequency_update`.

Shapes: B sequences, H heads, T positions, D head dim.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten


@dataclass
class Regime:
    """Which factors a network's LongRoPE takes; one for all of its layers."""

    limit: int
    """Positions up to which the short factors hold: the context before it was extended."""
    is_long: bool | None = None
    """None takes every call for a whole sequence, or its end, and goes by its last position."""

    @contextmanager
    def of(self, is_long: bool) -> Iterator[None]:
        """Within this, all calls belong to sequences of one kind."""
        self.is_long = is_long
        try:
            yield
        finally:
            self.is_long = None


@dataclass(frozen=True)
class RopeFactors:
    """One of the two sets."""

    frequencies: mx.array
    """[D / 2]; of a position, divided by it, is the angle."""
    scale: float
    """What queries and keys are multiplied by."""


class LongRoPE(nn.Module):
    """Turns `x[B, H, T, D]` at positions from `offset` on."""

    def __init__(self, dims: int, short: RopeFactors, long: RopeFactors, regime: Regime) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dims = dims
        self._short, self._long, self._regime = short, long, regime

    def __call__(self, x: mx.array, offset: int | mx.array = 0) -> mx.array:
        is_long: Any = self._regime.is_long
        if is_long is None:
            is_long = offset + x.shape[-2] > self._regime.limit
        if not isinstance(is_long, mx.array):
            return self._turned(x, offset, self._long if is_long else self._short)
        lanes = is_long.reshape(-1, *([1] * (x.ndim - 1)))
        return mx.where(lanes, self._turned(x, offset, self._long), self._turned(x, offset, self._short))

    def _turned(self, x: mx.array, offset: int | mx.array, factors: RopeFactors) -> mx.array:
        return mx.fast.rope(
            x.at[..., : self.dims].multiply(factors.scale),
            self.dims,
            traditional=False,
            base=None,
            scale=1.0,
            offset=offset,
            freqs=factors.frequencies,
        )


def use_both_factors(network: Any, config: Mapping[str, Any]) -> None:
    """Replace, in place, every rotation of `network` that knows long factors only.

    Args:
        config: normalised.
    """
    text = config.get("text_config")
    part = text if isinstance(text, dict) else config
    said = part.get("rope_scaling")
    if not isinstance(said, dict) or "long_factor" not in said or "short_factor" not in said:
        return
    from mlx_lm.models.rope_utils import SuScaledRoPE

    limit = said.get("original_max_position_embeddings") or part.get("original_max_position_embeddings")
    regime = Regime(int(limit or 4096))
    found = [(path, module) for path, module in network.named_modules() if type(module) is SuScaledRoPE]
    made = [(path, _rotation(module.dim, part, said, regime)) for path, module in found]
    if made:
        network.update_modules(tree_unflatten(made))


def regime_of(network: Any) -> Regime | None:
    """Return the regime of a network's LongRoPE; None if it has none."""
    if not isinstance(network, nn.Module):  # a stand-in, as the runtime's callers may have
        return None
    modules: list[tuple[str, Any]] = network.named_modules()  # type: ignore[no-untyped-call]
    return next((module._regime for _, module in modules if isinstance(module, LongRoPE)), None)


def _rotation(dims: int, part: Mapping[str, Any], said: Mapping[str, Any], regime: Regime) -> LongRoPE:
    base = part.get("rope_theta") or 10_000.0
    frequencies = base ** (mx.arange(0, dims, 2, dtype=mx.float32) / dims)
    scale = _attention_factor(part, said, regime.limit)

    def factors(name: str) -> RopeFactors:
        values = mx.array(said[f"{name}_factor"], dtype=mx.float32) * frequencies
        return RopeFactors(values, float(said.get(f"{name}_mscale") or scale))

    return LongRoPE(dims, factors("short"), factors("long"), regime)


def _attention_factor(part: Mapping[str, Any], said: Mapping[str, Any], limit: int) -> float:
    given = said.get("attention_factor")
    if given is not None:
        return float(given)
    factor = said.get("factor") or part.get("max_position_embeddings", limit) / limit
    return 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(limit))
