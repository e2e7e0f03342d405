"""One run in numbers: how far, how fast, how much memory, until when."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from edgelm.runs.log import RunLog
from edgelm.runs.watched import watched_facts
from edgelm.units import count, format_bytes, format_seconds

_COLOURS = {
    "running": "$text-success",
    "paused": "$text-warning",
    "interrupted": "$text-error",
    "failed": "$text-error",
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
    """Describe a run in two or three lines."""
    status = log.status()
    step, total = log.at, log.total_steps
    parts: list[str | tuple[str, str]] = [(status, _COLOURS[status]), f"  {log.model}  step {step:,}"]
    if total:
        full = round(min(step / total, 1.0) * _BAR)
        parts += [f" of {total:,}  ", ("━" * full, "$primary"), ("─" * (_BAR - full), "$foreground-muted")]
    lines = [Content.assemble(*parts)]
    facts = [fact for fact in (_beginning(log), *_facts(log)) if fact]
    lines.append(Content.styled(" · ".join(facts), "$foreground-muted"))
    lines += [Content.styled(str(warning), "$text-warning") for warning in _warnings(log)]
    if status in ("interrupted", "failed"):
        why = "its process is gone" if status == "interrupted" else log.aborted["error"]
        lines.append(Content.styled(f"{why}; r resumes the run from its last checkpoint", "$text-warning"))
    return Content("\n").join(lines)


def _warnings(log: RunLog) -> list[object]:
    """List what the last step and the last validation warned of; the step's words where both say the same."""
    step, validation = (event.get("warnings") for event in (log.step, log.validated))
    of_step = step if isinstance(step, list) else []
    return of_step or (validation if isinstance(validation, list) else [])


def _beginning(log: RunLog) -> str:
    """Why there is nothing yet."""
    if log.status() != "running" or log.step:
        return ""
    done, total = log.referenced.get("rows"), log.referenced.get("total_rows")
    if not log.started and isinstance(done, int) and isinstance(total, int):
        return f"the model as it is is asked: {done:,} of {count(total, 'row')}"
    return "the first step is under way" if log.started else "data and model are being prepared"


def _facts(log: RunLog) -> list[str]:
    step, started = log.step, log.started
    pad = started.get("pad_share")
    return [
        f"loss {log.loss:.4f}" if log.loss is not None else "",
        f"validation {log.validation_loss:.4f}" if log.validation_loss is not None else "",
        *watched_facts(step.get("metrics", {})),
        f"{step['tokens_per_s']:,.0f} token/s" if _is_number(step.get("tokens_per_s")) else "",
        f"{1 - pad:.0%} of positions used" if isinstance(pad, float) else "",
        f"memory {format_bytes(step['memory_bytes'])}" if _is_number(step.get("memory_bytes")) else "",
        f"rate {step['learning_rate']:.2g}" if _is_number(step.get("learning_rate")) else "",
        _left(log),
        f"took {format_seconds(log.ended['elapsed_s'])}" if _is_number(log.ended.get("elapsed_s")) else "",
    ]


def _left(log: RunLog) -> str:
    if log.left_s is None or log.status() not in ("running", "paused"):
        return ""
    return f"left {format_seconds(log.left_s)}" if log.step else f"forecast {format_seconds(log.left_s)}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
