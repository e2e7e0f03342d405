"""`edgelm runs`: what was trained, how it went, and orders to what is being trained."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgelm.cli.parsing.actions import add_action, add_force, add_json, check_file
from edgelm.cli.parsing.confirm import add_yes, confirmed
from edgelm.cli.show.facts import fact_lines, labelled
from edgelm.cli.show.output import console, print_json, say
from edgelm.errors import NotFoundError, OptionError
from edgelm.units import count, format_bytes

if TYPE_CHECKING:
    from edgelm.runs.log import RunLog
    from edgelm.runs.status import RunSummary

EXAMPLES = (
    "edgelm runs",
    "edgelm runs show 20261125",
    "edgelm runs plot 20261125",
)


_CURVES = ("loss", "smoothed", "validation", "learning_rate", "grad_norm", "tokens_per_s")
_MARKS = ("", "×", "o", "+", "*", "#")
"""The marks of curves drawn as text; the first is a line."""
_WIDEST, _HIGHEST = 120, 24


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    add_json(parser)
    parser.set_defaults(action=_list)
    actions = parser.add_subparsers(metavar="ACTION", title="actions", description="without one, list")
    add_action(actions, "list", "every run, newest first", _list, aliases=("ls",))
    show = add_action(
        actions, "show", "settings, hashes and losses of a run, or of several side by side", _show
    )
    show.add_argument("runs", metavar="RUN", nargs="+", help="a run's name, or a part that only it has")
    plot = add_action(actions, "plot", "draw the losses of runs", _plot)
    plot.add_argument("runs", metavar="RUN", nargs="+", help="a run's name, or a part that only it has")
    plot.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="an .svg or .png file (default: the terminal)"
    )
    plot.add_argument("--curve", default="smoothed", choices=_CURVES, help="what is drawn (default smoothed)")
    add_force(plot)
    for order, text in (
        ("stop", "end a run after its step, with a checkpoint"),
        ("pause", "let a run wait"),
        ("resume", "let a paused run go on; edgelm tune --resume is for one that ended"),
        ("checkpoint", "write a checkpoint now"),
    ):
        action = add_action(actions, order, text, _order)
        action.add_argument("run", metavar="RUN", help="a run that is being trained")
        action.set_defaults(order=order)
    delete = add_action(
        actions, "delete", "remove runs; adapters in the library stay", _delete, aliases=("remove", "rm")
    )
    delete.add_argument("runs", metavar="RUN", nargs="+", help="a run's name, or a part that only it has")
    add_yes(delete)


def run(arguments: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        NotFoundError: no such run.
        OptionError, OutputError: a chart that cannot be drawn, or a run that is being trained.
    """
    arguments.action(arguments)


def _read(text: str, *, curves: bool = True) -> RunLog:
    """Find the run that `text` names, and read its log."""
    from edgelm.runs.folder import find_run
    from edgelm.runs.log import RunLog

    log = RunLog.open(find_run(text).path)
    log.read_on(curves=curves)
    return log


def _list(arguments: argparse.Namespace) -> None:
    from edgelm.runs.shelf import RunShelf

    every = [log.summary() for log in RunShelf().look(curves=False)]
    if arguments.json:
        print_json(every)
    elif every:
        _print_table(every)
    else:
        say("nothing was trained yet: edgelm tune MODEL --data FILE")


def _print_table(every: list[RunSummary]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("name", no_wrap=True)
    for heading in ("status", "model", "method", "data"):
        table.add_column(heading)
    for heading in ("step", "loss", "validation"):
        table.add_column(heading, justify="right", no_wrap=True)
    for run in every:
        steps = f"{run.step}/{run.total_steps}" if run.total_steps else str(run.step)
        cells = (
            run.name,
            run.status,
            run.model,
            run.method,
            Path(run.data).name,
            steps,
            _nats(run.loss),
            _change(run),
        )
        table.add_row(*(Text(cell) for cell in cells))
    console().print(table)


def _nats(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _change(run: RunSummary) -> str:
    return f"{_nats(run.first_loss)} → {_nats(run.best_loss)}" if run.best_loss is not None else ""


def _show(arguments: argparse.Namespace) -> None:
    logs = [_read(text, curves=False) for text in dict.fromkeys(arguments.runs)]
    runs = [log.summary() for log in logs]
    if arguments.json:
        validations = [log.curves["validation"] for log in logs]
        print_json([{"run": run, "validation": v} for run, v in zip(runs, validations, strict=True)])
    elif len(runs) == 1:
        for line in _lines(runs[0], logs[0].curves["validation"]):
            print(line)
    else:
        _print_table(runs)
        _print_differences(runs)


def _lines(run: RunSummary, validations: list[tuple[int, float]]) -> Iterator[str]:
    facts = {
        "name": run.name, "status": run.status, "created": run.created,
        "model": f"{run.model} ({run.base_sha256[:12]})", "data": f"{run.data} ({run.data_sha256[:12]})",
        "steps": f"{run.step} of {run.total_steps}", "training loss": _nats(run.loss), "adapter": run.adapter,
        "directory": run.directory, "error": run.error,
    }  # fmt: skip
    known = [(name, value) for name, value in facts.items() if value]
    yield from labelled(
        [*known, *(("validation", f"{loss:.4f} after step {step}") for step, loss in validations)]
    )
    yield from fact_lines({"settings": run.config.get("settings", {})})


def _print_differences(found: list[RunSummary]) -> None:
    """Settings that are not the same in all."""
    from rich.table import Table
    from rich.text import Text

    settings = {run.name: {**run.config.get("settings", {}), "data": run.data_sha256[:12]} for run in found}
    names = [
        key
        for key in next(iter(settings.values()))
        if len({str(said.get(key)) for said in settings.values()}) > 1
    ]
    table = Table("setting", *settings, box=None, pad_edge=False, header_style="bold")
    for key in names:
        table.add_row(Text(key), *(Text(str(said.get(key))) for said in settings.values()))
    console().print(table)


def _plot(arguments: argparse.Namespace) -> None:
    if arguments.output is not None:
        from edgelm.charts import check_format

        check_format(arguments.output)
        check_file(arguments.output, arguments)
    logs = [_read(text) for text in arguments.runs]
    curves = {log.name: log.curves[arguments.curve] for log in logs}
    empty = [name for name, points in curves.items() if not points]
    if empty:
        raise OptionError(f"run {empty[0]} has no curve {arguments.curve!r}")
    if arguments.output is None:
        _show_curves(curves, arguments)
    else:
        _draw_curves(curves, arguments)


def _show_curves(curves: dict[str, list[tuple[int, float]]], arguments: argparse.Namespace) -> None:
    """Print the curves as text, as wide as the terminal; with `--json` their points."""
    if arguments.json:
        print_json(curves)
        return
    import shutil

    from edgelm.charts.braille import Series, braille_chart

    size = shutil.get_terminal_size()
    series = [
        Series(name, points, "", mark=_MARKS[at % len(_MARKS)])
        for at, (name, points) in enumerate(curves.items())
    ]
    picture = braille_chart(series, min(size.columns, _WIDEST), min(size.lines - 1, _HIGHEST))
    print(f"{arguments.curve} by step")
    for line in picture:
        print("".join(text for text, _ in line).rstrip())


def _draw_curves(curves: dict[str, list[tuple[int, float]]], arguments: argparse.Namespace) -> None:
    from edgelm.charts import chart

    with chart(
        arguments.output,
        title=f"{arguments.curve} of {count(len(curves), 'run')}",
        x="step",
        y=arguments.curve,
    ) as axes:
        for name, points in curves.items():
            axes.plot(*zip(*points, strict=True), label=name)
    if arguments.json:
        print_json({"chart": arguments.output})
    else:
        print(arguments.output)


def _order(arguments: argparse.Namespace) -> None:
    from edgelm.runs.control import send
    from edgelm.runs.folder import find_run

    folder = find_run(arguments.run)
    if folder.owner() is None:
        raise NotFoundError(
            f"run {folder.name} is not being trained", hint=f"edgelm tune --resume {folder.name}"
        )
    send(folder.path, arguments.order)
    say(f"{folder.name} was told to {arguments.order}; it does so after its step")


def _delete(arguments: argparse.Namespace) -> None:
    from edgelm.runs.folder import delete_run, find_run

    folders = [find_run(text) for text in dict.fromkeys(arguments.runs)]
    question = f"Delete {', '.join(folder.name for folder in folders)}?"
    if not confirmed(question, yes=arguments.yes):
        say("nothing was deleted")
        return
    for folder in folders:
        say(f"deleted {folder.name}: {format_bytes(delete_run(folder))} freed")
