"""The losses of a run as a chart."""

from __future__ import annotations

from pathlib import Path

from edgelm.charts import chart
from edgelm.runs.events import Stepped, Validated
from edgelm.runs.folder import RunFolder


def plot_losses(folder: RunFolder, target: Path) -> None:
    """Draw training and validation loss over steps; of steps computed again after a kill, the last counts.

    Raises:
        OptionError: `target` is neither .svg nor .png.
        OutputError: it cannot be written.
    """
    steps = {event.step: event for event in folder.events() if isinstance(event, Stepped)}
    measured = {event.step: event.loss for event in folder.events() if isinstance(event, Validated)}
    done = sorted(steps)
    with chart(target, title=f"Loss of {folder.name}", x="step", y="nats per token") as axes:
        axes.plot(done, [steps[step].loss for step in done], color="#bbbbbb", linewidth=0.8, label="training")
        axes.plot(done, [steps[step].smoothed for step in done], color="#1f6feb", label="smoothed")
        if measured:
            points = sorted(measured.items())
            axes.plot(
                *zip(*points, strict=True), color="#d1242f", marker="o", markersize=3, label="validation"
            )
