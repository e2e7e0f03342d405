"""Tuning from Python: `edgelm.tune("model", "examples.jsonl")`.

MLX runs on a thread of the run's own, as everywhere in edgelm, so this may be called from any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm.errors import EngineError, Interrupted
from edgelm.model.library import obtain
from edgelm.progress import OnProgress, ignore_progress
from edgelm.runtime.worker import EngineThread
from edgelm.tune.data.settings import DataSettings
from edgelm.tune.events import Ended, TuneEvent, Validated
from edgelm.tune.folder import RunFolder, find_run
from edgelm.tune.request import TuneRequest
from edgelm.tune.session import Session, begin, resume
from edgelm.tune.settings import TuneSettings

_REQUEST = ("validation", "hold_out", "prompts", "answer_tokens", "name", "output", "check_fit")


@dataclass(frozen=True)
class TuneResult:
    """A run that came to its end."""

    run: str
    adapter: Path
    """The directory of the result."""
    directory: Path
    """Of the run: its log, checkpoints and chart."""
    steps: int
    first_loss: float | None
    """Validation loss of the base, in nats per token; None without validation."""
    best_loss: float | None
    """The lowest."""
    loss: float | None
    """Training loss at the end, smoothed."""


def tune(
    model: str | Path,
    data: str | Path,
    *,
    on_event: Callable[[TuneEvent], None] = lambda _: None,
    on_progress: OnProgress = ignore_progress,
    **settings: Any,
) -> TuneResult:
    """Tune `model` on `data` and wait for the end.

    Args:
        model: a name from the library, a path, or a Hub id (which is pulled into the library first).
        data: a file of examples, or a directory of train and valid.
        on_event: called with every event, on the calling thread.
        settings: those of `edgelm tune --help` by their names (method, rank, epochs, steps, learning_rate, …; `for_s` is the
            time in seconds), of the data (max_tokens, long_rows, turns, …), and validation, hold_out, prompts,
            answer_tokens, name, output, check_fit.

    Raises:
        OptionError, NotFoundError, FormatError, UnsupportedError, FitError: before training.
        EngineError, OutputError: in the middle; `resume_tune` goes on.
        Interrupted: the run was told to stop.
    """
    request = _request(obtain(str(model), on_progress), str(data), settings)
    return _run(begin(request, on_progress=on_progress), on_event)


def resume_tune(
    run: str | None = None, *, on_event: Callable[[TuneEvent], None] = lambda _: None
) -> TuneResult:
    """Go on with a run, by default the newest. Raises as `tune` does."""
    return _run(resume(find_run(run)), on_event)


def _request(model: Path, data: str, settings: dict[str, Any]) -> TuneRequest:
    known = DataSettings.__dataclass_fields__
    of_data = {name: settings[name] for name in settings if name in known}
    own = {name: settings[name] for name in settings if name in _REQUEST}
    rest = {name: value for name, value in settings.items() if name not in of_data and name not in own}
    own = {
        name: Path(value) if name == "output" else value for name, value in own.items() if value is not None
    }
    return TuneRequest(
        model, data, settings=TuneSettings.build(**rest), data_settings=DataSettings(**of_data), **own
    )


def _run(session: Session, on_event: Callable[[TuneEvent], None]) -> TuneResult:
    first: float | None = None
    ended: Ended | None = None
    with EngineThread(lambda: None, name="edgelm-tune") as thread:
        for event in thread.submit(lambda _, cancel: _events(session, cancel)).events():
            on_event(event)
            if isinstance(event, Validated) and event.step == 0:
                first = event.loss
            if isinstance(event, Ended):
                ended = event
    return _result(session.folder, ended, first)


def _events(session: Session, cancel: threading.Event) -> Iterator[TuneEvent]:
    """On the thread: whoever stops listening stops the run, with a checkpoint."""
    for event in session.events():
        if cancel.is_set():
            session.control.give("stop")
        yield event


def _result(folder: RunFolder, ended: Ended | None, first: float | None) -> TuneResult:
    if ended is None:
        raise EngineError("the run ended without a result")
    if ended.adapter is None:
        raise Interrupted(
            f"stopped after step {ended.step}; everything is kept",
            hint=f"edgelm tune --resume {folder.name} goes on",
        )
    return TuneResult(
        folder.name, Path(ended.adapter), folder.path, ended.step, first, ended.best_loss, ended.loss
    )
