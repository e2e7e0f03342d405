"""Charts as SVG or PNG files, in one style, written whole or not at all.

    with chart(Path("loss.svg"), title="Loss", x="step", y="nats per token") as axes:
        axes.plot(steps, losses, label="train")

matplotlib does the drawing, with no display and no global state. Knows nothing of what is drawn.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgelm.atomic import atomic_write_bytes
from edgelm.errors import OptionError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".svg", ".png")

# Typed loosely: matplotlib's stubs know the keys as literals.
_STYLE: Final[Any] = {
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "figure.dpi": 144,
    "font.size": 9,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: searchable, and small
    "svg.hashsalt": "edgelm",  # the same data gives the same bytes
}


@contextmanager
def chart(
    path: Path, *, title: str, x: str, y: str, width_in: float = 7.0, height_in: float = 4.0
) -> Iterator[Axes]:
    """Give the block axes to draw on, written to `path` when it ends well; labelled artists get a legend.

    Raises:
        OptionError: `path` does not end in .svg or .png.
        OutputError: it cannot be written.
    """
    with stacked_charts(path, title=title, x=x, ys=(y,), width_in=width_in, height_in=height_in) as (axes,):
        yield axes
        if axes.get_legend_handles_labels()[1] and axes.get_legend() is None:
            axes.legend()


@contextmanager
def stacked_charts(
    path: Path, *, title: str, x: str, ys: Sequence[str], width_in: float = 7.0, height_in: float = 4.0
) -> Iterator[tuple[Axes, ...]]:
    """Give the block axes one above the other that share `x`, one for each label of `ys`; legends are the caller's.

    Raises as `chart` does.
    """
    check_format(path)
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        rows = figure.subplots(len(ys), sharex=True, squeeze=False)
        axes: tuple[Axes, ...] = tuple(rows[:, 0])
        yield axes
        for panel, label in zip(axes, ys, strict=True):
            panel.set(ylabel=label)
        axes[0].set(title=title)
        axes[-1].set(xlabel=x)
        drawn = io.BytesIO()
        # Without a date, the same data gives the same bytes.
        figure.savefig(
            drawn, format=path.suffix[1:].lower(), metadata={"Date": None} if path.suffix == ".svg" else None
        )
    atomic_write_bytes(path, drawn.getvalue())


def check_format(path: Path) -> None:
    """Refuse what cannot be drawn, before the work that leads to it.

    Raises:
        OptionError: `path` does not end in .svg or .png.
    """
    if path.suffix.lower() not in FORMATS:
        raise OptionError(f"the chart is {path}, expected a name that ends in {' or '.join(FORMATS)}")
