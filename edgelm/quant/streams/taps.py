"""The inputs of the quantizable modules of a layer, caught as the layer runs.

Three kinds of module multiply by a weight whose groups lie along the axis of the inputs: linear layers
([R, C]), expert layers ([E, R, C], called with the expert of each token) and per-head layers ([E, R, C], one
head each). Inputs come out as rows [N, C], with the slice of the weight that each goes to where there are several.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from edgelm.quant.hooks import Call, Handler, hook


@dataclass(frozen=True)
class Inputs:
    """What one call of a module multiplied by its weight, unevaluated."""

    path: str
    source: mx.array
    """The array as it was handed over: modules that got the same one share their statistics."""
    rows: mx.array  # [N, C]
    slices: mx.array | None
    """[N]: the expert or head of each row; None for a plain matrix."""


class Taps:
    """Catches the inputs of `modules` (path → module) while `watching`."""

    def __init__(self, modules: Mapping[str, Any]) -> None:
        self._caught: list[Inputs] | None = None
        for path, module in modules.items():
            hook(module, self._handler(path, module))

    @contextmanager
    def watching(self) -> Iterator[list[Inputs]]:
        """Yields the list that calls in the block are added to, in their order."""
        caught: list[Inputs] = []
        self._caught = caught
        try:
            yield caught
        finally:
            self._caught = None

    def _handler(self, path: str, module: Any) -> Handler:
        def handle(own: Call, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
            if self._caught is not None:
                inputs = _inputs(path, module.weight, arguments, named)
                if inputs is not None:
                    self._caught.append(inputs)
            return own(*arguments, **named)

        return handle


def groups_of(caught: list[Inputs]) -> list[list[str]]:
    """Group the paths that were handed the very same array, in the order of their first call."""
    groups: dict[int, list[str]] = {}
    seen: set[str] = set()
    for inputs in caught:
        if inputs.path not in seen:
            seen.add(inputs.path)
            groups.setdefault(id(inputs.source), []).append(inputs.path)
    return list(groups.values())


def _inputs(
    path: str, weight: mx.array, arguments: tuple[Any, ...], named: Mapping[str, Any]
) -> Inputs | None:
    """None where the inputs do not meet the axis that is grouped (a per-head layer used transposed)."""
    given: mx.array = arguments[0]
    columns = weight.shape[-1]
    if weight.ndim == 2:
        return Inputs(path, given, given.reshape(-1, columns), None)
    second = arguments[1] if len(arguments) > 1 else named.get("indices", named.get("transpose", True))
    if isinstance(second, mx.array):
        rows = mx.broadcast_to(given.squeeze(-2), (*second.shape, columns))
        return Inputs(path, given, rows.reshape(-1, columns), second.reshape(-1))
    if second is not True:
        return None
    heads = weight.shape[0]
    spread = mx.broadcast_to(given, (*given.shape[:-3], heads, *given.shape[-2:]))
    rows = mx.moveaxis(spread, -3, 0).reshape(heads, -1, columns)
    slices = mx.broadcast_to(mx.arange(heads)[:, None], rows.shape[:2])
    return Inputs(path, given, rows.reshape(-1, columns), slices.reshape(-1))
