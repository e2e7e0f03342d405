"""Curves drawn with braille dots: two by four to a character.

Decimated to the width before anything is drawn; every series has a colour and a mark, so that they can be told apart
without colour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_LABELS = 9


@dataclass(frozen=True, slots=True)
class Series:
    """One curve."""

    label: str
    points: Sequence[tuple[float, float]]
    colour: str
    mark: str = ""
    """Drawn instead of dots, for few points."""


class Plot(Widget):
    """Draws series over the same axes."""

    DEFAULT_CSS = "Plot { height: 1fr; min-height: 5; padding: 0 1; }"
    is_log: reactive[bool] = reactive(False)

    def __init__(self, id: str | None = None) -> None:  # noqa: A002 - textual's own name
        super().__init__(id=id)
        self._series: list[Series] = []

    def show(self, series: Sequence[Series]) -> None:
        """Draw these instead."""
        self._series = list(series)
        self.refresh()

    def render(self) -> Content:
        """Legend, curves, steps."""
        size = self.scrollable_content_region.size if self.is_mounted else self.size
        return draw(self._series, size.width, size.height, is_log=self.is_log)


def draw(series: Sequence[Series], width: int, height: int, *, is_log: bool = False) -> Content:
    """The picture, `width` by `height` characters."""
    shown = [one for one in series if one.points]
    columns, rows = width - _LABELS - 1, height - 2
    if not shown or columns < 4 or rows < 2:
        return Content.styled("nothing to draw yet", "$foreground-muted")
    is_log = is_log and all(value > 0 for one in shown for _, value in one.points)
    low_x, high_x, low, high = _bounds(shown, is_log)
    cells = _ink(shown, columns, rows, (low_x, high_x, low, high), is_log=is_log)
    lines = [_legend(shown, is_log, width)]
    for row in range(rows):
        parts: list[str | tuple[str, str]] = [
            (_label(row, rows, low, high, is_log), "$foreground-muted"),
            "│",
        ]
        parts += [cells.get((row, column), " ") for column in range(columns)]
        lines.append(Content.assemble(*parts))
    left, right = f"{low_x:,.0f}", f"step {high_x:,.0f}"
    axis = " " * (_LABELS + 1) + left + right.rjust(max(columns - len(left), 0))
    lines.append(Content.styled(axis[:width], "$foreground-muted"))
    return Content("\n").join(lines)


def _ink(
    shown: Sequence[Series],
    columns: int,
    rows: int,
    bounds: tuple[float, float, float, float],
    *,
    is_log: bool,
) -> dict[tuple[int, int], tuple[str, str]]:
    """(row, column) → character and colour, where there is something; marks over lines, later curves over earlier."""
    low_x, high_x, low, high = bounds
    marks: dict[tuple[int, int], tuple[str, str]] = {}
    dots: dict[tuple[int, int], tuple[int, str]] = {}
    for one in shown:
        previous: tuple[int, int] | None = None
        for x, value in decimate(one.points, columns * 2):
            at_x = round((x - low_x) / (high_x - low_x) * (columns * 2 - 1))
            at_y = round((high - _scale(value, is_log)) / (high - low) * (rows * 4 - 1))
            if one.mark:
                marks[(at_y // 4, at_x // 2)] = (one.mark, one.colour)
                continue
            for dot_x, dot_y in _line(previous, (at_x, at_y)):
                cell = (dot_y // 4, dot_x // 2)
                bits = dots.get(cell, (0, ""))[0] | _DOTS[dot_y % 4][dot_x % 2]
                dots[cell] = (bits, one.colour)
            previous = (at_x, at_y)
    return {cell: (chr(0x2800 + bits), colour) for cell, (bits, colour) in dots.items()} | marks


def decimate(points: Sequence[tuple[float, float]], count: int) -> list[tuple[float, float]]:
    """At most `count` points: of each stretch the lowest and the highest, so that no peak is lost."""
    if len(points) <= count:
        return list(points)
    kept: list[tuple[float, float]] = []
    stretches = max(count // 2, 1)
    for at in range(stretches):
        part = points[at * len(points) // stretches : (at + 1) * len(points) // stretches]
        if part:
            kept += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return kept


def _bounds(shown: Sequence[Series], is_log: bool) -> tuple[float, float, float, float]:
    steps = [x for one in shown for x, _ in one.points]
    values = [_scale(value, is_log) for one in shown for _, value in one.points]
    low_x, high_x, low, high = min(steps), max(steps), min(values), max(values)
    if high_x == low_x:
        high_x = low_x + 1
    if high == low:
        low, high = low - 0.5, high + 0.5
    return low_x, high_x, low, high


def _scale(value: float, is_log: bool) -> float:
    return math.log10(value) if is_log else value


def _line(start: tuple[int, int] | None, end: tuple[int, int]) -> list[tuple[int, int]]:
    if start is None:
        return [end]
    length = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    return [
        (
            round(start[0] + (end[0] - start[0]) * at / length),
            round(start[1] + (end[1] - start[1]) * at / length),
        )
        for at in range(length + 1)
    ]


def _label(row: int, rows: int, low: float, high: float, is_log: bool) -> str:
    if row not in (0, rows // 2, rows - 1):
        return " " * _LABELS
    value = high - (high - low) * row / max(rows - 1, 1)
    return f"{10**value if is_log else value:.4g}".rjust(_LABELS - 1)[: _LABELS - 1] + " "


def _legend(shown: Sequence[Series], is_log: bool, width: int) -> Content:
    parts: list[str | tuple[str, str]] = []
    for one in shown:
        parts += [(f"{one.mark or '━'} {one.label}", one.colour), "   "]
    if is_log:
        parts.append("log scale")
    return Content.assemble(*parts).truncate(width)
