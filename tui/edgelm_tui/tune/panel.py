"""One run in numbers: how far, how fast, how much memory, until when."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from edgelm.units import format_bytes, format_seconds
from edgelm_tui.tune.runs import RunLog

_COLOURS = {
    "running": "$text-success",
    "paused": "$text-warning",
    "interrupted": "$text-error",
    "finished": "$text-success",
    "stopped": "$text-warning",
}
_BAR = 24


class RunPanel(Static):
    """The numbers of a run."""

    DEFAULT_CSS = "RunPanel { height: auto; padding: 0 1; }"

    def __init__(self) -> None:
        super().__init__("", markup=False)

    def show(self, log: RunLog | None) -> None:
        """Show a run."""
        self.update(describe(log) if log is not None else Content("no run is chosen"))


def describe(log: RunLog) -> Content:
    """Two or three lines."""
    status = log.status()
    step, total = log.step.get("step") or log.started.get("step") or 0, log.step.get("total_steps")
    parts: list[str | tuple[str, str]] = [(status, _COLOURS[status]), f"  {log.model}  step {step:,}"]
    if total:
        full = round(min(step / total, 1.0) * _BAR)
        parts += [f" of {total:,}  ", ("━" * full, "$primary"), ("─" * (_BAR - full), "$foreground-muted")]
    lines = [Content.assemble(*parts)]
    facts = [fact for fact in _facts(log) if fact]
    lines.append(Content.styled(" · ".join(facts), "$foreground-muted"))
    if status == "interrupted":
        lines.append(
            Content.styled("its process is gone; r resumes from the last checkpoint", "$text-warning")
        )
    return Content("\n").join(lines)


def _facts(log: RunLog) -> list[str]:
    step, started = log.step, log.started
    pad = started.get("pad_share")
    return [
        f"loss {step['smoothed']:.4f}" if _is_number(step.get("smoothed")) else "",
        f"validation {log.validated['loss']:.4f}" if _is_number(log.validated.get("loss")) else "",
        f"{step['tokens_per_s']:,.0f} token/s" if _is_number(step.get("tokens_per_s")) else "",
        f"{1 - pad:.0%} of positions used" if isinstance(pad, float) else "",
        f"memory {format_bytes(step['memory_bytes'])}" if _is_number(step.get("memory_bytes")) else "",
        f"rate {step['learning_rate']:.2g}" if _is_number(step.get("learning_rate")) else "",
        f"left {format_seconds(step['eta_s'])}" if _is_number(step.get("eta_s")) and not log.ended else "",
        f"took {format_seconds(log.ended['elapsed_s'])}" if _is_number(log.ended.get("elapsed_s")) else "",
    ]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
