"""A chart of a quantization's layers: what each lost above, the bits it got below.

Columns are blocks, rows are kinds of modules (q_proj, down_proj, …), so that a pattern over depth shows at
once; embedding and head have a column of their own at the ends.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelm.errors import OptionError

if TYPE_CHECKING:
    from edgelm.evaluate.receipt import LayerLoss, QualityReceipt

_NUMBERED_BLOCKS = 40
"""With more columns than this, bits are told by colour alone."""
_INPUT_MODULES = ("embed", "wte")


def plot_layers(path: Path, receipt: QualityReceipt, *, title: str) -> None:
    """Draw what each layer lost and the bits per weight it got.

    Raises:
        OptionError: `path` is neither .svg nor .png, or the receipt lists no layers.
        OutputError: it cannot be written.
    """
    if not receipt.layers:
        raise OptionError("the receipt lists no layers, so there is nothing to draw")
    from edgelm.charts import stacked_charts

    grid = _Grid(receipt.layers)
    with_kl = any(layer.kl is not None for layer in receipt.layers)
    height_in = 1.8 + 0.4 * len(grid.kinds)
    with stacked_charts(path, title=title, x="block", ys=("", ""), width_in=9, height_in=height_in) as panels:
        lost = grid.values(lambda layer: layer.kl if with_kl else layer.relative_error)
        _draw(panels[0], grid, lost, "mean KL, alone" if with_kl else "relative output error", log=True)
        bits = grid.values(bits_per_weight)
        _draw(panels[1], grid, bits, "bits per weight", log=False)
        if len(grid.columns) <= _NUMBERED_BLOCKS:
            _number(panels[1], bits)
        shown = list(grid.columns)[:: max(1, len(grid.columns) // 16)]
        panels[1].set_xticks([grid.columns[name] for name in shown], shown)


def bits_per_weight(layer: LayerLoss) -> float:
    """Count scales too: 32 bits of scale and bias a group, 8 bits of scale in the block formats."""
    return layer.bits + (32 if layer.mode == "affine" else 8) / layer.group_size


class _Grid:
    """Where each layer stands: `columns` by block, `kinds` by row."""

    def __init__(self, layers: Sequence[LayerLoss]) -> None:
        self._layers = layers
        names = sorted({_column(layer.path) for layer in layers})
        self.columns = {name: at for at, (_, name) in enumerate(names)}
        self.kinds = {
            kind: at for at, kind in enumerate(dict.fromkeys(_kind(layer.path) for layer in layers))
        }

    def values(self, of: Callable[[LayerLoss], float | None]) -> list[list[float]]:
        """Rows of `of`, the mean where several modules share a place (experts); NaN where there is none."""
        found: dict[tuple[int, int], list[float]] = {}
        for layer in self._layers:
            place = (self.kinds[_kind(layer.path)], self.columns[_column(layer.path)[1]])
            value = of(layer)
            if value is not None:
                found.setdefault(place, []).append(value)
        return [
            [_mean(found.get((row, column), [])) for column in self.columns.values()]
            for row in self.kinds.values()
        ]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _kind(path: str) -> str:
    return path.rpartition(".")[2]


def _column(path: str) -> tuple[float, str]:
    """Place in the order of columns, and label."""
    found = re.search(r"(?:^|\.)(\d+)\.", path)
    if found:
        return float(found[1]), found[1]
    return (-1.0, "in") if any(name in path for name in _INPUT_MODULES) else (math.inf, "out")


def _draw(axes: Any, grid: _Grid, values: list[list[float]], label: str, *, log: bool) -> None:
    from matplotlib.colors import LogNorm

    known = [value for row in values for value in row if value > 0]
    norm = LogNorm(min(known), max(known)) if log and known and min(known) < max(known) else None
    axes.grid(visible=False)
    image = axes.imshow(
        values, aspect="auto", cmap="viridis_r" if log else "Blues", norm=norm, interpolation="nearest"
    )
    axes.set_yticks(list(grid.kinds.values()), list(grid.kinds))
    axes.figure.colorbar(image, ax=axes, label=label, pad=0.01)


def _number(axes: Any, values: list[list[float]]) -> None:
    highest = max(value for row in values for value in row if not math.isnan(value))
    lowest = min(value for row in values for value in row if not math.isnan(value))
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            if not math.isnan(value):
                dark = highest > lowest and value > (highest + lowest) / 2
                axes.text(
                    column, row, f"{value:.3g}", ha="center", va="center", fontsize=5,
                    color="white" if dark else "black",
                )  # fmt: skip
