"""`edgelm tune`: teach a model from examples, in an evening, without losing the run."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelm.cli.commands.tune.flags import add_arguments, make_request
from edgelm.cli.parsing.actions import check_file
from edgelm.cli.show.output import say, warn
from edgelm.cli.show.progress_bars import progress_bars
from edgelm.errors import OptionError

__all__ = ["add_arguments", "run"]

if TYPE_CHECKING:
    from edgelm.runs.events import TuneEvent
    from edgelm.tune.loop.training_run import TrainingRun

EXAMPLES = (
    "edgelm tune smollm2-135m-instruct-4bit --data examples.jsonl",
    "edgelm tune MODEL --data examples.jsonl --for 3h --pause-on battery,heat",
    "edgelm tune --resume",
)


def run(arguments: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        OptionError, NotFoundError, FormatError, UnsupportedError, FitError: before training.
        EngineError, OutputError: in the middle; the run can be resumed.
        Interrupted: it was stopped.
    """
    from edgelm.runs.chart import plot_losses

    if arguments.plot is not None:
        from edgelm.charts import check_format

        check_format(arguments.plot)
        check_file(arguments.plot, arguments)
    if arguments.report_to is not None:
        from edgelm.tune.loop.writers import check_writer

        check_writer(arguments.report_to)
    if arguments.resume is not None and _is_finished(arguments):
        return
    with progress_bars() as on_progress:
        session = _session(arguments, on_progress)
    ended = _watch(session, arguments)
    for target in (session.folder.path / "loss.svg", arguments.plot):
        if target is not None and session.workers.is_first:
            plot_losses(session.folder.path, target)
    if ended.reason == "stopped":
        from edgelm.errors import Interrupted

        raise Interrupted(
            f"stopped after step {ended.step}; everything is kept",
            hint=f"edgelm tune --resume {session.folder.name} goes on",
        )
    if not arguments.json and session.workers.is_first:
        _show_result(session, ended)


def _is_finished(arguments: argparse.Namespace) -> bool:
    """Whether the run to resume came to its end and its adapter is there; then that is said, and nothing is done."""
    from edgelm.runs.events import RunEnded, to_json
    from edgelm.runs.folder import find_run

    _refuse_new_settings(arguments)
    folder = find_run(arguments.resume or None)
    ended = next((event for event in reversed(list(folder.events())) if isinstance(event, RunEnded)), None)
    if ended is None or ended.reason == "stopped" or not (ended.adapter and Path(ended.adapter).is_dir()):
        return False
    if arguments.json:
        print(to_json(ended), flush=True)
    say(f"run {folder.name} is finished after step {ended.step}; its adapter is {ended.adapter}")
    return True


def _session(arguments: argparse.Namespace, on_progress: Any) -> TrainingRun:
    from edgelm.runs.folder import find_run
    from edgelm.tune.loop.begin import begin, resume
    from edgelm.tune.loop.workers import Workers

    workers = Workers.join()
    if arguments.resume is not None:
        return resume(find_run(arguments.resume or None), workers=workers, on_progress=on_progress)
    if arguments.model is None or arguments.data is None:
        raise OptionError("MODEL and --data are needed", hint="edgelm tune MODEL --data examples.jsonl")
    return begin(make_request(arguments), workers=workers, on_progress=on_progress)


_NOT_OF_THE_RUN = frozenset({"resume", "plot", "report_to", "json", "debug", "force"})


def _refuse_new_settings(arguments: argparse.Namespace) -> None:
    """A resumed run is the run that began: what is given with `--resume` and would be ignored is named."""
    given = [
        flag for name, flag in getattr(arguments, "flags_given", {}).items() if name not in _NOT_OF_THE_RUN
    ]
    given = ["MODEL", *given] if arguments.model else given
    if given:
        raise OptionError(
            f"--resume goes on with a run as it began, so {' and '.join(given)} cannot be given with it",
            hint="leave it out, or begin a new run"
            if len(given) == 1
            else "leave them out, or begin a new run",
        )


def _watch(session: TrainingRun, arguments: argparse.Namespace) -> Any:
    """Train and show it; the last event."""
    from edgelm.cli.commands.tune.display import display

    event: TuneEvent | None = None
    if not session.workers.is_first:
        shown = _silent()
    else:
        shown = _json_lines() if arguments.json else display(session)
    with _writer(arguments, session) as write, closing(session.events()) as events, shown as show:
        for event in events:
            write(event)
            show(event)
    return event


@contextmanager
def _json_lines() -> Iterator[Any]:
    from edgelm.runs.events import to_json

    yield lambda event: print(to_json(event), flush=True)


@contextmanager
def _silent() -> Iterator[Any]:
    yield lambda _: None


@contextmanager
def _writer(arguments: argparse.Namespace, session: TrainingRun) -> Iterator[Any]:
    if arguments.report_to is None or not session.workers.is_first:
        yield lambda _: None
        return
    from edgelm.tune.loop.writers import open_writer

    with open_writer(arguments.report_to, session.folder, session.request) as write:
        yield write


def _name_of(model: Path) -> str:
    """What to type for a model: its name in the library, else its path."""
    from edgelm import paths

    return model.name if model.absolute().parent == paths.models() else str(model)


def _show_result(session: TrainingRun, ended: Any) -> None:
    from edgelm.cli.commands.tune.display import result_lines

    for line in result_lines(session, ended):
        print(line)
    if ended.adapter is not None:
        where = ended.adapter if session.request.output else Path(ended.adapter).name
        scores = session.request.settings.objective.loss == "reward"
        used = (
            f"--best-of 4 --judge-by {shlex.quote(f'model:{where}')}"
            if scores
            else f"--adapter {shlex.quote(str(where))}"
        )
        say(f"edgelm chat {shlex.quote(_name_of(session.request.model))} {used}")
    if ended.adapter_step != ended.step:
        warn(f"the adapter is that of step {ended.adapter_step}, where the validation loss was lowest")
