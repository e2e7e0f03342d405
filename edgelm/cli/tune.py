"""`edgelm tune`: teach a model from examples, in an evening, without losing the run."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelm.cli.output import progress_bars, say, warn
from edgelm.errors import OptionError

if TYPE_CHECKING:
    from edgelm.tune.events import TuneEvent
    from edgelm.tune.session import Session

_UNITS = {"s": 1, "m": 60, "h": 3600}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    from edgelm.tune.data.settings import DataSettings
    from edgelm.tune.settings import LoopSettings, MethodSettings, OptimizerSettings

    add = parser.add_argument
    add("model", nargs="?", metavar="MODEL", help="a name from the library, a path, or a Hub id")
    add(
        "--data",
        metavar="FILE",
        help="examples: JSONL, JSON, CSV, Parquet, text, or a directory of train and valid",
    )
    add("--validation", metavar="FILE", help="examples to measure on")
    add(
        "--hold-out",
        type=float,
        metavar="SHARE",
        help="without them, the share of prompts kept apart (default 0.05)",
    )
    add(
        "--resume", nargs="?", const="", metavar="RUN",
        help="go on with a run from its last checkpoint (default: the newest run)",
    )  # fmt: skip
    add("--for", dest="for_time", metavar="TIME", help="train for so long: 3h, 45m, 90s")
    add(
        "--pause-on",
        metavar="WHAT",
        help="battery, heat and pressure, with commas between: wait while it lasts",
    )
    add(
        "--prompt",
        action="append",
        default=[],
        metavar="TEXT",
        help="answer this at each validation (repeatable)",
    )
    add("--answer-tokens", type=int, metavar="N", help="tokens of those answers (default 48; 0 for none)")
    add("--name", help="of the run and its adapter (default: time, model and method)")
    add(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="where the adapter goes (default: the library of adapters)",
    )
    add("--plot", type=Path, metavar="FILE", help="draw the losses as .svg or .png too")
    add("--report-to", metavar="WHERE", help="tensorboard, wandb or trackio, where installed")
    add("--json", action="store_true", help="print events as JSON lines on stdout")
    add("--no-fit-check", action="store_true", help="load even if it would not fit in memory")
    what = parser.add_argument_group("what is trained")
    MethodSettings.add_flags(what, only=("method", "rank", "alpha", "dropout", "layers"))
    what.add_argument(
        "--targets", metavar="A,B",
        help="linear, attention, mlp, embeddings, head, or patterns as *.q_proj (default linear)",
    )  # fmt: skip
    what.add_argument(
        "--rank-of",
        action="append",
        default=[],
        metavar="PATTERN=RANK",
        help="another rank for some (repeatable)",
    )
    OptimizerSettings.add_flags(parser.add_argument_group("how"))
    LoopSettings.add_flags(
        parser.add_argument_group("for how long, in what batches"),
        only=[name for name in LoopSettings.__dataclass_fields__ if name not in ("for_s", "pause_on")],
    )
    DataSettings.add_flags(parser.add_argument_group("data"))


def run(arguments: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        OptionError, NotFoundError, FormatError, UnsupportedError, FitError: before training.
        EngineError, OutputError: in the middle; the run can be resumed.
        Interrupted: it was stopped.
    """
    from edgelm.tune.plot import plot_losses

    if arguments.plot is not None:
        from edgelm.charts import check_format

        check_format(arguments.plot)
    if arguments.report_to is not None:
        from edgelm.tune.writers import check_writer

        check_writer(arguments.report_to)
    with progress_bars() as on_progress:
        session = _session(arguments, on_progress)
    ended = _watch(session, arguments)
    for target in (session.folder.path / "loss.svg", arguments.plot):
        if target is not None and session.workers.is_first:
            plot_losses(session.folder, target)
    if ended.reason == "stopped":
        from edgelm.errors import Interrupted

        raise Interrupted(
            f"stopped after step {ended.step}; everything is kept",
            hint=f"edgelm tune --resume {session.folder.name} goes on",
        )
    if not arguments.json and session.workers.is_first:
        _show_result(session, ended)


def _session(arguments: argparse.Namespace, on_progress: Any) -> Session:
    from edgelm.tune.folder import find_run
    from edgelm.tune.session import begin, resume
    from edgelm.tune.workers import Workers

    workers = Workers.join()
    if arguments.resume is not None:
        if arguments.model or arguments.data:
            raise OptionError(
                "--resume goes on with a run as it began, so MODEL and --data are not given with it"
            )
        return resume(find_run(arguments.resume or None), workers=workers, on_progress=on_progress)
    if arguments.model is None or arguments.data is None:
        raise OptionError("MODEL and --data are needed", hint="edgelm tune MODEL --data examples.jsonl")
    return begin(_request(arguments), workers=workers, on_progress=on_progress)


def _request(arguments: argparse.Namespace) -> Any:
    from edgelm.model.library import resolve
    from edgelm.tune.data.settings import DataSettings
    from edgelm.tune.request import TuneRequest
    from edgelm.tune.settings import TuneSettings

    said = {name: value for name, value in vars(arguments).items() if name in TuneSettings().flat()}
    settings = TuneSettings.build(**{**said, **_parsed(arguments)})
    given = {"hold_out": arguments.hold_out, "answer_tokens": arguments.answer_tokens}
    return TuneRequest(
        model=resolve(arguments.model),
        data=arguments.data,
        validation=arguments.validation,
        settings=settings,
        data_settings=DataSettings.from_flags(arguments),
        prompts=tuple(arguments.prompt),
        name=arguments.name,
        output=arguments.output,
        check_fit=not arguments.no_fit_check,
        **{name: value for name, value in given.items() if value is not None},
    )


def _parsed(arguments: argparse.Namespace) -> dict[str, Any]:
    """Settings whose flags are not of a plain type."""
    return {
        "for_s": None if arguments.for_time is None else parse_time(arguments.for_time),
        "pause_on": _parts(arguments.pause_on),
        "targets": _parts(arguments.targets),
        "ranks": tuple(map(_rank_of, arguments.rank_of)),
    }


def _parts(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


def _rank_of(text: str) -> tuple[str, int]:
    pattern, _, rank = text.rpartition("=")
    if not pattern or not rank.isdecimal():
        raise OptionError(f"--rank-of is {text!r}, expected PATTERN=RANK, as in *.down_proj=16")
    return pattern, int(rank)


def parse_time(text: str) -> float:
    """`3h`, `45m`, `90s`, `1h30m` in seconds.

    Raises:
        OptionError: anything else.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise OptionError(f"the time is {text!r}, expected something like 3h, 45m or 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _watch(session: Session, arguments: argparse.Namespace) -> Any:
    """Train and show it; the last event."""
    from edgelm.cli.tune_display import display

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
    from edgelm.tune.events import to_json

    yield lambda event: print(to_json(event), flush=True)


@contextmanager
def _silent() -> Iterator[Any]:
    yield lambda _: None


@contextmanager
def _writer(arguments: argparse.Namespace, session: Session) -> Iterator[Any]:
    if arguments.report_to is None or not session.workers.is_first:
        yield lambda _: None
        return
    from edgelm.tune.writers import open_writer

    with open_writer(arguments.report_to, session.folder, session.request) as write:
        yield write


def _show_result(session: Session, ended: Any) -> None:
    from edgelm.cli.tune_display import result_lines

    for line in result_lines(session, ended):
        print(line)
    if ended.adapter is not None:
        where = ended.adapter if session.request.output else Path(ended.adapter).name
        say(f"edgelm chat {session.base.name} --adapter {where}")
    if ended.adapter_step != ended.step:
        warn(f"the adapter is that of step {ended.adapter_step}, where the validation loss was lowest")
