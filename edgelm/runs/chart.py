"""The losses of a run as a chart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgelm.charts import chart
from edgelm.runs.log import RunLog


def plot_losses(run: Path, target: Path) -> None:
    """Draw training and validation loss over the steps of the run in the directory `run`.

    Raises:
        OptionError: `target` is neither .svg nor .png.
        OutputError: it cannot be written.
    """
    log = RunLog(run)
    log.read_on()
    looks: dict[str, dict[str, Any]] = {
        "loss": {"color": "#bbbbbb", "linewidth": 0.8, "label": "training"},
        "smoothed": {"color": "#1f6feb", "label": "smoothed"},
        "validation": {"color": "#d1242f", "marker": "o", "markersize": 3, "label": "validation"},
    }
    with chart(target, title=f"Loss of {log.name}", x="step", y="nats per token") as axes:
        for curve, look in looks.items():
            points = log.curves[curve]
            if points or curve != "validation":
                axes.plot([step for step, _ in points], [value for _, value in points], **look)
