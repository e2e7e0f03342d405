"""Spending a number of bytes where they lower the divergence most.

Every tensor offers choices (width and group), each with its bytes and what it is expected to add to the
divergence from the source; expectations add up. The cheapest choice of each is taken first, then again and again
the step with the largest gain per byte, which on the convex hull of every tensor's choices is optimal up to the
last step. One step of a large tensor, an embedding say, can be a large part of the budget: every choice of the largest
tensors is tried in turn, and only the rest is spent step by step. Knows nothing of models.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgelm.errors import OptionError
from edgelm.units import format_bytes

TRIED = 2
"""Tensors whose choices are all tried: an embedding and a head."""


@dataclass(frozen=True, slots=True)
class WidthChoice:
    """One way to store a tensor."""

    settings: dict[str, Any]
    size_bytes: int
    loss: float
    """What it is expected to add to the divergence, in nats per token."""
    is_stored: bool = False
    """The tensor stays as the source holds it, packed or not: nothing is added."""


def allocate(choices: Mapping[str, Sequence[WidthChoice]], budget_bytes: int) -> dict[str, WidthChoice]:
    """Choose for every path so that sizes together are at most `budget_bytes`.

    Raises:
        OptionError: even the smallest choices are larger; the message says by how much.
    """
    hulls = {path: lower_hull(offered) for path, offered in choices.items()}
    least = sum(hull[0].size_bytes for hull in hulls.values())
    if least > budget_bytes:
        raise OptionError(
            f"the budget leaves {format_bytes(max(0, budget_bytes))} for the quantized tensors, and at the fewest"
            f" bits they take {format_bytes(least)}"
        )
    tried = sorted(hulls, key=lambda path: hulls[path][-1].size_bytes, reverse=True)[:TRIED]
    ways = (
        _spend({**hulls, **{path: [choice] for path, choice in zip(tried, way, strict=True)}}, budget_bytes)
        for way in itertools.product(*(choices[path] for path in tried))
    )
    return min((way for way in ways if way is not None), key=_loss)


def _loss(chosen: Mapping[str, WidthChoice]) -> float:
    return sum(choice.loss for choice in chosen.values())


def _spend(hulls: Mapping[str, Sequence[WidthChoice]], budget_bytes: int) -> dict[str, WidthChoice] | None:
    """Step by step; None where even the smallest choices are larger."""
    taken = dict.fromkeys(hulls, 0)
    spent = sum(hull[0].size_bytes for hull in hulls.values())
    if spent > budget_bytes:
        return None
    steps = [step for path in hulls if (step := _step(path, hulls[path], 0)) is not None]
    heapq.heapify(steps)
    while steps:
        _, path, cost = heapq.heappop(steps)
        if spent + cost > budget_bytes:
            continue  # a smaller step of another tensor may still fit
        spent += cost
        taken[path] += 1
        step = _step(path, hulls[path], taken[path])
        if step is not None:
            heapq.heappush(steps, step)
    return {path: hulls[path][index] for path, index in taken.items()}


def _step(path: str, hull: Sequence[WidthChoice], index: int) -> tuple[float, str, int] | None:
    """(minus the gain per byte, path, bytes) of the step after `index`; None at the end of the hull."""
    if index + 1 == len(hull):
        return None
    now, then = hull[index], hull[index + 1]
    cost = then.size_bytes - now.size_bytes
    return (-(now.loss - then.loss) / cost, path, cost)


def lower_hull(choices: Sequence[WidthChoice]) -> list[WidthChoice]:
    """Keep the choices that no mixture of two others beats, from the smallest to the one with the least loss."""
    hull: list[WidthChoice] = []
    for choice in sorted(choices, key=lambda c: (c.size_bytes, c.loss)):
        if hull and choice.loss >= hull[-1].loss:
            continue
        while len(hull) > 1 and _is_above(hull[-2], hull[-1], choice):
            hull.pop()
        hull.append(choice)
    return hull


def _is_above(left: WidthChoice, middle: WidthChoice, right: WidthChoice) -> bool:
    """Whether `middle` lies on or above the line from `left` to `right`."""
    rise = (middle.loss - left.loss) * (right.size_bytes - left.size_bytes)
    return rise >= (right.loss - left.loss) * (middle.size_bytes - left.size_bytes)
