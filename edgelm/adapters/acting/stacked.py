"""Modules that heed adapters: the base is computed for all rows at once, an adapter's part for its rows alone.

An adapter's part is the difference it makes to the module's output, times its weight: off is off for DoRA too, whose
magnitude is not scaled by its `scale`. Rows of the base get what the base computes, bit for bit.

Shapes: B rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from edgelm.adapters.acting.rows import Acting
from edgelm.zoo.fixes.classes import derived
from edgelm.zoo.lora import is_plain_lora


class Stacked(nn.Module):
    """A module, and the adapters on it.

    Args:
        base: the module, whose output begins with the axis of the rows.
        path: where it is in the network.
        acting: who acts on which row.
    """

    def __init__(self, base: Any, path: str, acting: Acting) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.base = base
        # Kept out of the module tree: they are not parameters of the model.
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "acting", acting)

    def __call__(self, x: mx.array, *args: Any, **kwargs: Any) -> mx.array:
        plain: mx.array = self.base(x, *args, **kwargs)
        joined: mx.array | None = self.acting.added(self.path, plain, x)
        if joined is not None:
            return joined
        return self._with_parts(plain, x, lambda layer, plain, x: _difference(layer, plain, x, args, kwargs))

    def as_linear(self, x: mx.array) -> mx.array:
        """Return the logits of an embedding that is the head too, with its adapters."""
        plain: mx.array = self.base.as_linear(x)
        return self._with_parts(plain, x, lambda layer, plain, x: layer.as_linear(x) - plain)

    def _with_parts(
        self, plain: mx.array, x: mx.array, difference: Callable[[Any, mx.array, mx.array], mx.array]
    ) -> mx.array:
        """Add to `plain` what adapters make of `x`, each on its rows."""

        def added(layers: Sequence[tuple[Any, float]], plain: mx.array, x: mx.array) -> mx.array:
            parts = (weight * difference(layer, plain, x) for layer, weight in layers)
            return sum((part.astype(plain.dtype) for part in parts), plain)

        if (only := self.acting.only) is not None:
            return added(only.layers_at(self.path), plain, x)
        whole = plain
        for variant, places in self.acting.parts(x.shape[0], (self.path,)):
            whole[places] = added(variant.layers_at(self.path), plain[places], x[places])
        return whole


def _difference(layer: Any, plain: mx.array, x: mx.array, args: Any, kwargs: Any) -> mx.array:
    if is_plain_lora(layer):  # the base need not be computed again
        alone: mx.array = layer.scale * ((x @ layer.lora_a) @ layer.lora_b)
        return alone
    whole: mx.array = layer(x, *args, **kwargs)
    return whole - plain


def apart(experts: Any, paths: Sequence[str], acting: Acting) -> None:
    """Have a block of experts compute rows of different variants one variant after the other.

    Inside, tokens of all rows are sorted by expert, and no module can tell whose they are. Which experts' weights are read
    changes little by that: every token chooses its own.

    Args:
        experts: the module above the layers of experts, called with hidden states and choices, `[B, …]` each.
        paths: where layers below it may have adapters.
        acting: who acts on which row.
    """
    together = type(experts).__call__

    def call(self: Any, x: mx.array, *args: Any, **kwargs: Any) -> mx.array:
        lead = x.shape[0]
        parts = [] if acting.only is not None else acting.parts(lead, paths)
        if not parts:
            output: mx.array = together(self, x, *args, **kwargs)
            return output
        if (rest := acting.others(lead, paths)) is not None:
            parts.append((acting.base, rest))
        outputs = []
        for variant, places in parts:

            def of(value: Any, places: mx.array = places) -> Any:
                is_by_row = isinstance(value, mx.array) and value.ndim > 1 and value.shape[0] == lead
                return value[places] if is_by_row else value

            with acting.alone(variant):
                given = {name: of(value) for name, value in kwargs.items()}
                outputs.append(together(self, of(x), *map(of, args), **given))
        order = mx.argsort(mx.concatenate([places for _, places in parts]))
        return mx.concatenate(outputs)[order]

    experts.__class__ = derived(type(experts), __call__=call)
