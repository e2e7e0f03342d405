"""`edgelm bench`: how fast a model is here, at several depths of the KV cache."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from edgelm.cli.output import console, print_json, progress_bars
from edgelm.units import format_bytes

if TYPE_CHECKING:
    from edgelm.evaluate.bench import BenchReport, Spread


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help="a name from the library, or a path")
    add("--depth", type=_counts, metavar="N,N", help="tokens in the KV cache (default: 0,512,2048)")
    add("--prompt-tokens", type=int, metavar="INT", help="tokens of the measured prompt (default 512)")
    add("--new-tokens", type=int, metavar="INT", help="tokens decoded (default 64)")
    add("--repeats", type=int, metavar="INT", help="measurements of each figure (default 3)")
    add("--adapter", metavar="DIR", help="apply mlx-lm adapters")
    add("--no-fit-check", action="store_true", help="load even if it would not fit in memory")
    add("--json", action="store_true", help="print JSON on stdout")


def run(arguments: argparse.Namespace) -> None:
    from pathlib import Path

    from edgelm import device
    from edgelm.evaluate.bench import BenchOptions, run_bench
    from edgelm.model.library import resolve
    from edgelm.model.load import load

    options = BenchOptions.from_flags(arguments, depths=arguments.depth)
    directory = resolve(arguments.model)
    adapter = Path(arguments.adapter) if arguments.adapter else None
    with progress_bars() as on_progress:
        model = load(directory, adapter=adapter, check_fit=not arguments.no_fit_check)
        report = run_bench(model, device.detect(), options, on_progress=on_progress)
    if arguments.json:
        print_json(report)
    else:
        _show(report)


def _counts(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}, expected numbers as in 0,512,2048") from None


def _show(report: BenchReport) -> None:
    from rich.table import Table
    from rich.text import Text

    screen = console()
    versions = ", ".join(f"{name} {number}" for name, number in report.versions.items())
    screen.print(Text(f"{report.model}: {format_bytes(report.model_bytes)} in memory, {report.dtype}"))
    screen.print(Text(f"{report.chip}, {report.backend} backend; {versions}"))
    table = Table(box=None, pad_edge=False)
    table.add_column("depth", justify="right")
    table.add_column(f"prefill of {report.prompt_tokens}, token/s", justify="right")
    table.add_column(f"decode of {report.new_tokens}, token/s", justify="right")
    for speed in report.speeds:
        table.add_row(str(speed.depth), _shown(speed.prefill_tokens_per_s), _shown(speed.decode_tokens_per_s))
    screen.print(table)
    plural = "s" if report.repeats > 1 else ""
    screen.print(
        Text(
            f"median of {report.repeats} measurement{plural} (lowest to highest);"
            f" peak memory {format_bytes(report.peak_memory_bytes)}"
        )
    )


def _shown(speed: Spread) -> str:
    return f"{speed.median:,.1f} ({speed.lowest:,.1f} to {speed.highest:,.1f})"
