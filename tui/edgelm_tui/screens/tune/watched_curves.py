"""What a run watches beside its loss over time, a line each: rewards, margins, log-probabilities, lengths."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widgets import Static

from edgelm.charts.sparkline import sparkline
from edgelm.runs.log import RunLog
from edgelm.runs.watched import watched_name

_BARS = 24
_NAME = 12


class WatchedCurves(Static):
    """Lines of bars below the curves of the loss; takes no room in a run that watches nothing."""

    DEFAULT_CSS = "WatchedCurves { height: auto; max-height: 50%; padding: 0 1; }"

    def __init__(self) -> None:
        super().__init__("", markup=False)
        self.display = False

    def show(self, log: RunLog) -> None:
        """Show what a run watches."""
        lines = watched_lines(log)
        self.display = bool(lines)
        self.update(Content("\n").join(lines))


def watched_lines(log: RunLog) -> list[Content]:
    """Write a line for each number that is watched: its name, bars of all steps so far, the first value and the last."""
    lines = []
    for name, points in log.watched.items():
        shown = watched_name(name)
        if shown is None or not points:
            continue
        called, form = shown
        values = [value for _, value in points]
        ends = f" {form.format(values[0])} → {form.format(values[-1])}"
        lines.append(Content.assemble(f"{called:<{_NAME}} ", (sparkline(_means(values)), "$primary"), ends))
    return lines


def _means(values: Sequence[float]) -> list[float]:
    """Means of equal stretches, as many as there are bars; the values themselves where they are fewer."""
    count = min(len(values), _BARS)
    parts = [values[at * len(values) // count : (at + 1) * len(values) // count] for at in range(count)]
    return [sum(part) / len(part) for part in parts]
