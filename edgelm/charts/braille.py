"""Curves as text, drawn with braille dots: two by four to a character.

Decimated to the width before anything is drawn; every series has a colour and a mark, so that they can be told apart
without colour. Knows neither a terminal nor a widget: colours are names that whoever shows the picture understands.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Span = tuple[str, str]
"""Text and its colour, "" for the colour of all text."""

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_LABELS = 9
"""Characters that the labels of the vertical axis take."""


@dataclass(frozen=True, slots=True)
class Series:
    """One curve: points (step, value)."""

    label: str
    points: Sequence[tuple[float, float]]
    colour: str
    mark: str = ""
    """Drawn instead of dots, for few points."""


@dataclass(frozen=True, slots=True)
class _Bounds:
    """What the axes go over; with a logarithmic scale, `low` and `high` are powers of ten."""

    left: float
    right: float
    low: float
    high: float
    is_log: bool

    @classmethod
    def of(cls, shown: Sequence[Series], *, is_log: bool) -> _Bounds:
        steps = [step for series in shown for step, _ in series.points]
        values = [_scaled(value, is_log) for series in shown for _, value in series.points]
        left, right, low, high = min(steps), max(steps), min(values), max(values)
        if high == low:
            low, high = low - 0.5, high + 0.5
        return cls(left, right if right > left else left + 1, low, high, is_log)

    def place(self, step: float, value: float, columns: int, rows: int) -> tuple[int, int]:
        """Return column and row of a point, counted in dots from the upper left."""
        across = (step - self.left) / (self.right - self.left)
        down = (self.high - _scaled(value, self.is_log)) / (self.high - self.low)
        return round(across * (columns * 2 - 1)), round(down * (rows * 4 - 1))


def braille_chart(
    series: Sequence[Series], width: int, height: int, *, is_log: bool = False, muted: str = ""
) -> list[list[Span]]:
    """Draw the curves over the same axes, with a legend above and the steps below.

    Args:
        series: the curves; those without points are left out.
        width: of the picture, in characters.
        height: of the picture, in lines.
        is_log: scale the values logarithmically, where all of them are above 0.
        muted: the colour of axes and labels.

    Returns:
        The lines of the picture.
    """
    shown = [one for one in series if one.points]
    columns, rows = width - _LABELS - 1, height - 2
    if not shown or columns < 4 or rows < 2:
        return [[("nothing to draw yet", muted)]]
    is_log = is_log and all(value > 0 for one in shown for _, value in one.points)
    bounds = _Bounds.of(shown, is_log=is_log)
    cells = _ink(shown, columns, rows, bounds)
    lines = [_cut(_legend(shown, is_log), width)]
    for row in range(rows):
        curve = [cells.get((row, column), (" ", "")) for column in range(columns)]
        lines.append([(_label(row, rows, bounds), muted), ("│", ""), *curve])
    left, right = f"{bounds.left:,.0f}", f"step {bounds.right:,.0f}"
    axis = " " * (_LABELS + 1) + left + right.rjust(max(columns - len(left), 0))
    return [*lines, [(axis[:width], muted)]]


def decimate(points: Sequence[tuple[float, float]], count: int) -> list[tuple[float, float]]:
    """Keep at most `count` points: the lowest and the highest of each stretch, so that no peak is lost."""
    if len(points) <= count:
        return list(points)
    kept: list[tuple[float, float]] = []
    stretches = max(count // 2, 1)
    for at in range(stretches):
        part = points[at * len(points) // stretches : (at + 1) * len(points) // stretches]
        if part:
            kept += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return kept


def _ink(shown: Sequence[Series], columns: int, rows: int, bounds: _Bounds) -> dict[tuple[int, int], Span]:
    """(row, column) → character and colour, where there is something; marks over lines, later curves over earlier."""
    marks: dict[tuple[int, int], Span] = {}
    dots: dict[tuple[int, int], tuple[int, str]] = {}
    for series in shown:
        previous: tuple[int, int] | None = None
        for step, value in decimate(series.points, columns * 2):
            place = bounds.place(step, value, columns, rows)
            if series.mark:
                marks[(place[1] // 4, place[0] // 2)] = (series.mark, series.colour)
                continue
            for x, y in _line(previous, place):
                cell = (y // 4, x // 2)
                dots[cell] = (dots.get(cell, (0, ""))[0] | _DOTS[y % 4][x % 2], series.colour)
            previous = place
    return {cell: (chr(0x2800 + bits), colour) for cell, (bits, colour) in dots.items()} | marks


def _scaled(value: float, is_log: bool) -> float:
    return math.log10(value) if is_log else value


def _line(start: tuple[int, int] | None, end: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """The dots from one point to the next."""
    start = start or end
    length = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    for at in range(length + 1):
        yield (
            round(start[0] + (end[0] - start[0]) * at / length),
            round(start[1] + (end[1] - start[1]) * at / length),
        )


def _label(row: int, rows: int, bounds: _Bounds) -> str:
    if row not in (0, rows // 2, rows - 1):
        return " " * _LABELS
    value = bounds.high - (bounds.high - bounds.low) * row / max(rows - 1, 1)
    return f"{10**value if bounds.is_log else value:.4g}".rjust(_LABELS - 1)[: _LABELS - 1] + " "


def _legend(shown: Sequence[Series], is_log: bool) -> list[Span]:
    parts: list[Span] = []
    for series in shown:
        parts += [(f"{series.mark or '━'} {series.label}", series.colour), ("   ", "")]
    return [*parts, ("log scale", "")] if is_log else parts


def _cut(line: Sequence[Span], width: int) -> list[Span]:
    """Return as much of a line as `width` columns of a terminal hold."""
    from rich.cells import cell_len, set_cell_size

    kept: list[Span] = []
    for text, colour in line:
        if (room := width - sum(cell_len(shown) for shown, _ in kept)) <= 0:
            break
        kept.append((text if cell_len(text) <= room else set_cell_size(text, room), colour))
    return kept
