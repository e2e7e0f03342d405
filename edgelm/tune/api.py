"""Tuning from Python: `edgelm.tune("model", "examples.jsonl")`.

MLX runs on a thread of the run's own, as everywhere in edgelm, so this may be called from any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Protocol, Unpack

from edgelm.errors import EngineError, Interrupted, OptionError
from edgelm.library.models import obtain
from edgelm.options import check_callable, check_names, check_type
from edgelm.progress import OnProgress, ignore_progress
from edgelm.runs.events import RunEnded, TuneEvent, Validated
from edgelm.runs.folder import RunFolder, find_run
from edgelm.runtime.worker import EngineThread
from edgelm.tune.data.reading.given import keep_rows
from edgelm.tune.data.settings import DataSettings
from edgelm.tune.loop.begin import begin, resume
from edgelm.tune.loop.training_run import TrainingRun
from edgelm.tune.objectives.settings import ObjectiveSettings
from edgelm.tune.request import TuneRequest
from edgelm.tune.settings import (
    LoopSettings,
    MethodSettings,
    OptimizerSettings,
    RolloutSettings,
    TuneSettings,
)
from edgelm.tune.typed import TuneOptions


class InDirectory(Protocol):
    """A loaded model (`edgelm.Model`), or anything else that knows where its weights lie."""

    @property
    def directory(self) -> Path:
        """The directory of its weights."""
        ...


@dataclass(frozen=True)
class TuneResult:
    """A run that came to its end."""

    run: str
    adapter: Path
    """The directory of the result."""
    directory: Path
    """The directory of the run: its log, checkpoints and chart."""
    steps: int
    first_loss: float | None
    """Validation loss of the base, in nats per token; None without validation."""
    best_loss: float | None
    """The lowest."""
    loss: float | None
    """Training loss at the end, smoothed."""


def tune(
    model: str | Path | InDirectory,
    data: str | Path | Iterable[Mapping[str, Any]],
    *,
    on_event: Callable[[TuneEvent], None] = lambda _: None,
    on_progress: OnProgress = ignore_progress,
    **settings: Unpack[TuneOptions],
) -> TuneResult:
    """Tune `model` on `data` and wait for the end.

    Args:
        model: a name from the library, a path, a Hub id (which is pulled first), or a loaded model, whose weights are read
            again and whose adapters do not count; `Model.tune` puts the result on it.
        data: a file of examples, a directory of train and valid, or the examples themselves as mappings, which are kept with
            edgelm's data, so that a run on them can be resumed.
        on_event: called with every event, on the calling thread.
        settings: those of `edgelm tune --help` by their names (method, rank, epochs, steps, learning_rate, …; `for_s` is the
            time in seconds), of the data (max_tokens, long_rows, turns, …), and validation, hold_out, prompts,
            answer_tokens, name, output, check_fit.

    Raises:
        OptionError, NotFoundError, FormatError, UnsupportedError, FitError: before training.
        EngineError, OutputError: in the middle; `resume_tune` goes on.
        Interrupted: the run was told to stop.
    """
    check_callable("on_event", on_event)
    check_callable("on_progress", on_progress)
    request = _request(obtain(str(_directory(model)), on_progress), _source(data), dict(settings))
    return _run(begin(request, on_progress=on_progress), on_event)


def resume_tune(
    run: str | None = None, *, on_event: Callable[[TuneEvent], None] = lambda _: None
) -> TuneResult:
    """Go on with a run, by default the newest. Raises as `tune` does."""
    check_type("run", run, str, NoneType, wanted="the name of a run")
    check_callable("on_event", on_event)
    return _run(resume(find_run(run)), on_event)


def _directory(model: Any) -> str | Path:
    """Return the directory or the name of a model that is named, or loaded."""
    directory = model if isinstance(model, str | Path) else getattr(model, "directory", None)
    if not isinstance(directory, str | Path) or not str(directory):
        raise OptionError(f"model is {model!r}, expected a name, a path or a loaded model")
    return directory


def _source(data: Any) -> str:
    """Return where the examples lie; those in memory are written to a file first."""
    if isinstance(data, str | Path) and str(data):
        return str(data)
    if isinstance(data, str | bytes | Mapping) or not isinstance(data, Iterable):
        raise OptionError(f"data is {data!r}, expected a path, or examples as mappings")
    return str(keep_rows(data))


def _request(model: Path, data: str, settings: dict[str, Any]) -> TuneRequest:
    fields = {
        name
        for part in (
            MethodSettings,
            OptimizerSettings,
            ObjectiveSettings,
            LoopSettings,
            RolloutSettings,
            DataSettings,
        )
        for name in part.__dataclass_fields__
    }
    check_names(settings, {*fields, *_REQUEST})
    of_data = {name: settings[name] for name in settings if name in DataSettings.__dataclass_fields__}
    own = {name: _REQUEST[name](name, settings[name]) for name in _REQUEST if settings.get(name) is not None}
    rest = {name: value for name, value in settings.items() if name not in {*of_data, *_REQUEST}}
    return TuneRequest(
        model, data, settings=TuneSettings.build(**rest), data_settings=DataSettings(**of_data), **own
    )


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str | Path) or not str(value):
        raise OptionError(f"{name} is {value!r}, expected text")
    return str(value)


def _path(name: str, value: Any) -> Path:
    return Path(_text(name, value))


def _texts(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise OptionError(f"{name} is {value!r}, expected a list of texts")
    return tuple(_text(name, item) for item in value)


def _share(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise OptionError(f"{name} is {value!r}, expected >= 0 and < 1")
    return float(value)


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise OptionError(f"{name} is {value!r}, expected int >= 0")
    return value


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise OptionError(f"{name} is {value!r}, expected bool")
    return value


_REQUEST: dict[str, Callable[[str, Any], Any]] = {
    "validation": _text, "hold_out": _share, "prompts": _texts, "answer_tokens": _count, "name": _text, "output": _path,
    "check_fit": _flag,
}  # fmt: skip
"""What a request holds beside its settings, and how it is read."""


def _run(session: TrainingRun, on_event: Callable[[TuneEvent], None]) -> TuneResult:
    first: float | None = None
    ended: RunEnded | None = None
    with EngineThread(lambda: None, name="edgelm-tune") as thread:
        for event in thread.submit(lambda _, cancel: _events(session, cancel)).events():
            on_event(event)
            if isinstance(event, Validated) and event.step == 0:
                first = event.loss
            if isinstance(event, RunEnded):
                ended = event
    return _result(session.folder, ended, first)


def _events(session: TrainingRun, cancel: threading.Event) -> Iterator[TuneEvent]:
    """Yield the run's events on its thread: whoever stops listening stops the run, with a checkpoint."""
    for event in session.events():
        if cancel.is_set():
            session.control.give("stop")
        yield event


def _result(folder: RunFolder, ended: RunEnded | None, first: float | None) -> TuneResult:
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
