"""`edgelm bench`: how fast a model is here, beside itself without a feature and beside mlx-lm."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from edgelm.cli.parsing.actions import add_force
from edgelm.cli.parsing.model_flags import ADAPTER_HELP, add_dtype, add_model, found_model
from edgelm.cli.report_files import check_report, write_both
from edgelm.cli.show.output import console, print_json
from edgelm.cli.show.progress_bars import progress_bars
from edgelm.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from edgelm.evaluate.bench.report import BenchReport, Case, Spread

EXAMPLES = ("edgelm bench smollm2-135m-instruct-4bit",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    from edgelm.evaluate.bench.options import CASES, PEERS

    add = parser.add_argument
    add_model(parser)
    add("--cases", type=_words, metavar="NAME,NAME", help=f"some of {','.join(CASES)} (default: all)")
    add("--compare", choices=PEERS, help="run this peer beside, on the same weights")
    add("--draft", metavar="MODEL", help="measure guessing by this smaller model of the same family too")
    add(
        "--output",
        type=Path,
        metavar="FILE",
        help="write the result there as JSON, and beside it as Markdown",
    )
    add("--depth", type=_counts, metavar="N,N", help="tokens in the KV cache (default: 0,512,2048)")
    add("--prompt-tokens", type=int, metavar="INT", help="tokens of the measured prompt (default 512)")
    add("--new-tokens", type=int, metavar="INT", help="tokens decoded (default 64)")
    add(
        "--history-tokens",
        type=int,
        metavar="INT",
        help="of the chat before the measured turn (default 2048)",
    )
    add("--repeats", type=int, metavar="INT", help="measurements of each figure (default 3)")
    add("--adapter", metavar="NAME[=WEIGHT]", help=ADAPTER_HELP)
    add("--no-fit-check", action="store_true", help="load even if it would not fit in memory")
    add_dtype(parser)
    add_force(parser)
    add("--json", action="store_true", help="print JSON on stdout")


def run(arguments: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        OptionError: a setting outside what it may be, or beyond the model's context.
        NotFoundError: no such model.
        OutputError: the result cannot be written.
    """
    from edgelm import device
    from edgelm.adapters.find import find_uses
    from edgelm.evaluate.bench.options import BenchOptions
    from edgelm.evaluate.bench.run import run_bench
    from edgelm.runtime.assemble import RuntimeOptions, assemble

    check_report(arguments.output, arguments)
    options = BenchOptions.from_flags(arguments, depths=arguments.depth)
    directory = found_model(arguments.model)
    uses = find_uses([arguments.adapter] if arguments.adapter else (), directory)
    with progress_bars() as on_progress:
        run_it = RuntimeOptions(
            adapters=uses,
            dtype=arguments.dtype,
            check_fit=not arguments.no_fit_check,
            draft=found_model(arguments.draft) if arguments.draft else None,
        )
        report = run_bench(
            assemble(directory, run_it), device.detect(), options,
            adapter=uses[0].directory if uses else None, on_progress=on_progress,
        )  # fmt: skip
    if arguments.json:
        print_json(report.as_json())
    else:
        _show(report)
    if arguments.output is not None:  # last: a disk that refuses must not cost what is on the screen
        _write(arguments.output, report)


def _counts(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}, expected numbers as in 0,512,2048") from None


def _words(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def _write(path: Path, report: BenchReport) -> None:
    facts = [
        ["", ""],
        *([line, ""] for line in _headlines(report)),
        *([reason, "not measured"] for reason in report.skipped),
    ]
    header = ["", "edgelm", "without", *([report.peer] if report.peer else [])]
    rows = [header, *(_row(case, report.peer is not None) for case in report.cases)]
    write_both(path, "edgelm bench", report.as_json(), [("Where", facts), ("Figures", rows)])


def _headlines(report: BenchReport) -> list[str]:
    """What was measured, and where."""
    machine, model = report.machine, report.model
    bits = (model.quantization or {}).get("bits")
    packed = f", {bits}-bit weights" if bits else ""
    versions = ", ".join(f"{name} {number}" for name, number in report.versions.items())
    return [
        f"{model.name}{packed}: {format_bytes(model.size_bytes)} in memory, {model.dtype}",
        f"{machine.chip}, {machine.backend} backend; {versions}",
        report.condition,
    ]


def _show(report: BenchReport) -> None:
    from rich.table import Table
    from rich.text import Text

    screen = console()
    for line in _headlines(report):
        screen.print(Text(line))
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("edgelm", justify="right")
    table.add_column("without", justify="right")
    if report.peer:
        table.add_column(report.peer, justify="right")
    for case in report.cases:
        table.add_row(*map(Text, _row(case, report.peer is not None)))
    screen.print(table)
    plural = "s" if report.repeats > 1 else ""
    screen.print(
        Text(
            f"median of {report.repeats} measurement{plural} (lowest to highest), sides by turns; × above 1"
            f" favours edgelm; peak memory {format_bytes(report.peak_memory_bytes)}"
        )
    )
    for reason in report.skipped:
        screen.print(Text(f"not measured: {reason}"))


def _row(case: Case, has_peer: bool) -> list[str]:
    """One line of the table: figures, and how many times better edgelm's is."""
    name = f"{case.name} ({case.note})" if case.note else case.name
    cells = [name, _shown(case.edgelm, case.unit), _beside(case, case.without, case.without_what)]
    return [*cells, _beside(case, case.peer)] if has_peer else cells


def _shown(spread: Spread, unit: str) -> str:
    low, middle, high = (_figure(value, unit) for value in (spread.lowest, spread.median, spread.highest))
    extent = f" ({low} to {high})" if low != high else ""
    return middle + extent + (f" {unit}" if unit == "token/s" else "")


def _figure(value: float, unit: str) -> str:
    return format_seconds(value) if unit == "s" else f"{value:,.1f}"


def _beside(case: Case, other: Spread | None, what: str = "") -> str:
    gain = case.gain_over(other)
    if other is None:
        return ""
    label = f"{what} " if what else ""
    return f"{label}{_figure(other.median, case.unit)}" + (f" ×{gain:.2f}" if gain else "")
