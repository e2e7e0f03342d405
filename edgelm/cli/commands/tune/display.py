"""What a person sees while a model is tuned: a live panel on a terminal, lines elsewhere. All on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from edgelm.charts.sparkline import sparkline
from edgelm.cli.show.facts import labelled
from edgelm.cli.show.output import error_console, is_terminal, say
from edgelm.runs.watched import watched_facts
from edgelm.units import count, format_bytes, format_seconds

if TYPE_CHECKING:
    from edgelm.runs.events import RunEnded, Started, Stepped, TuneEvent, Validated
    from edgelm.tune.loop.training_run import TrainingRun

_LINES = 20
"""Reports of steps, off a terminal."""
_SHOWN_CHARS = 200
_HISTORY = 60


@contextmanager
def display(session: TrainingRun) -> Iterator[Callable[[TuneEvent], None]]:
    """Give something that takes every event and shows it."""
    say(f"run {session.folder.name}")
    if not is_terminal(sys.stderr):
        yield _Lines()
        return
    from rich.live import Live

    panel = _Panel()
    with Live(console=error_console(), refresh_per_second=4) as live:

        def show(event: TuneEvent) -> None:
            for line in panel.take(event):
                live.console.print(line, markup=False, style="dim")
            live.update(panel.render())

        yield show


def started_lines(event: Started) -> Iterator[str]:
    """Say what is about to happen."""
    yield (
        f"{count(event.rows, 'row')}, {event.targets_per_epoch:,} of {count(event.tokens_per_epoch, 'token')} trained;"
        f" {count(event.validation_rows, 'row')} held out"
    )
    packed = "packed" if event.is_packed else "in batches of like length"
    yield (
        f"{event.method}, {event.trained_parameters:,} weights trained; rows {packed}, {event.pad_share:.1%} padding"
    )
    if event.predicted_bytes is not None:
        time = f", about {format_seconds(event.predicted_s)}" if event.predicted_s is not None else ""
        yield f"{format_bytes(event.predicted_bytes)} of memory at the peak{time}, as predicted from shapes"
    yield from event.notes
    if event.step:
        yield f"going on after step {event.step}"


def step_line(event: Stepped) -> str:
    """Say one step in a line."""
    of = f"/{event.total_steps}" if event.total_steps else ""
    left = f", {format_seconds(event.eta_s)} left" if event.eta_s is not None else ""
    watched = "".join(f"  {fact}" for fact in watched_facts(event.metrics))
    return (
        f"step {event.step}{of}  loss {event.loss:.4f}  smoothed {event.smoothed:.4f}{watched}"
        f"  {event.tokens_per_s:,.0f} token/s  memory {memory_text(event)}{left}"
    )


def memory_text(event: Stepped) -> str:
    """Say what memory was taken, and what is expected while that is more; or that it is too much."""
    used, expected = event.memory_bytes, event.expected_bytes
    text = format_bytes(used)
    if expected is not None and format_bytes(expected) != text:
        text += f" of {format_bytes(expected)} expected"
    return f"{text}, more than is safe here" if event.is_over_budget else text


def validation_lines(event: Validated) -> Iterator[str]:
    """Show a validation and its answers."""
    best = " (best so far)" if event.best_step == event.step and event.step else ""
    watched = "".join(f"  {fact}" for fact in watched_facts(event.metrics))
    yield f"step {event.step}  validation {event.loss:.4f}{watched}{best}"
    yield from (f"  {warning}" for warning in event.warnings)
    for answer in event.answers:
        yield f"  {_short(answer.prompt)} → {_short(answer.text)}"


def result_lines(session: TrainingRun, ended: RunEnded) -> Iterator[str]:
    """Show the result, for stdout."""
    from edgelm.runs.events import Validated

    validations = [event for event in session.folder.events() if isinstance(event, Validated)]
    facts = {"adapter": ended.adapter}
    unit = " nats per token" if session.request.settings.objective.loss == "sft" else ""
    if validations and ended.best_loss is not None:
        facts["validation"] = f"{validations[0].loss:.4f} → {ended.best_loss:.4f}{unit}"
        facts |= dict(_watched_change(validations[0], _best(validations, ended.best_loss)))
    if ended.loss is not None:
        facts["training"] = f"{ended.loss:.4f}{unit} at the end, smoothed"
    facts["cost"] = (
        f"{count(ended.step, 'step')}, {count(ended.tokens, 'token')}, {format_seconds(ended.elapsed_s)},"
        f" peak memory {format_bytes(ended.memory_bytes)}"
    )
    yield from labelled(facts)


def _best(validations: list[Validated], loss: float) -> Validated:
    return next(event for event in reversed(validations) if event.loss == loss)


def _watched_change(first: Validated, best: Validated) -> Iterator[tuple[str, str]]:
    """What was watched on the rows held out, before and at the best."""
    before, after = watched_facts(first.metrics), watched_facts(best.metrics)
    if before and after:
        yield "held out", f"{', '.join(before)} → {', '.join(after)}"


def _other_lines(event: TuneEvent) -> Iterator[str]:
    from edgelm.runs.events import Paused, Referenced, Started, Unpaused, Validated

    if isinstance(event, Started):
        yield from started_lines(event)
    elif isinstance(event, Referenced):
        if event.rows >= event.total_rows:
            yield f"{count(event.rows, 'row')} compared with the model as it is"
    elif isinstance(event, Validated):
        yield from validation_lines(event)
    elif isinstance(event, Paused):
        yield f"paused after step {event.step}: {event.reason}"
    elif isinstance(event, Unpaused):
        yield f"going on after {format_seconds(event.paused_s)}"


class _Lines:
    """For logs and screen readers."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, event: TuneEvent) -> None:
        from edgelm.runs.events import Stepped

        for line in _other_lines(event):
            say(line)
        if isinstance(event, Stepped) and self._is_due(event):
            say(step_line(event))
            for warning in event.warnings:
                say(warning)

    def _is_due(self, event: Stepped) -> bool:
        share = event.step / event.total_steps if event.total_steps else 0.0
        is_due = event.step == 1 or share - self._last >= 1 / _LINES or share >= 1
        self._last = share if is_due else self._last
        return is_due


class _Panel:
    """For terminals: what changes with every step stays in place, the rest scrolls."""

    def __init__(self) -> None:
        self._step: Stepped | None = None
        self._validation: Validated | None = None
        self._losses: list[float] = []
        self._state = ""
        self._before = "the first step compiles, and takes longer"

    def take(self, event: TuneEvent) -> list[str]:
        """Note an event; the lines that are to scroll."""
        from edgelm.runs.events import Paused, Referenced, Started, Stepped, Unpaused, Validated

        if isinstance(event, Stepped):
            self._step = event
            self._losses = [*self._losses[1 - _HISTORY :], event.smoothed]
        elif isinstance(event, Validated):
            self._validation = event
        if isinstance(event, Referenced) and event.rows < event.total_rows:
            self._before = f"asking the model as it is: {event.rows:,} of {count(event.total_rows, 'row')}"
        elif isinstance(event, Started):
            self._before = "the first step compiles, and takes longer"
        if isinstance(event, Paused):
            self._state = f"paused: {event.reason}"
        elif isinstance(event, Unpaused):
            self._state = ""
        return list(_other_lines(event))

    def render(self) -> Any:
        """The panel now."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        step = self._step
        if step is None:
            return Text(self._before, style="dim")
        parts: list[Any] = [ProgressBar(total=step.total_steps or 1, completed=step.step, width=48)]
        parts += [Text(line) for line in self._lines(step)]
        return Group(*parts)

    def _lines(self, step: Stepped) -> Iterator[str]:
        of = f" of {step.total_steps}" if step.total_steps else ""
        left = f", {format_seconds(step.eta_s)} left" if step.eta_s is not None else ""
        yield f"step {step.step}{of}, epoch {step.epoch:.2f}, {format_seconds(step.elapsed_s)}{left}  {self._state}"
        yield f"loss {step.loss:.4f}   smoothed {step.smoothed:.4f}   {sparkline(self._losses)}"
        if watched := watched_facts(step.metrics):
            yield "   ".join(watched)
        yield from step.warnings
        if self._validation is not None:
            found = self._validation
            yield f"validation {found.loss:.4f}   best {found.best_loss:.4f} at step {found.best_step}"
        yield (
            f"{step.tokens_per_s:,.0f} token/s   rate {step.learning_rate:.2e}   gradient {step.grad_norm:.3f}"
            f"   memory {memory_text(step)}"
        )


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_CHARS else line[: _SHOWN_CHARS - 1] + "…"
