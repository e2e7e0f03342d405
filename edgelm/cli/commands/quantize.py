"""`edgelm quantize compare`: what size costs in quality, as a table and a plot."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelm.cli.parsing.actions import add_force, check_file
from edgelm.cli.show.output import console, print_json
from edgelm.cli.show.progress_bars import progress_bars
from edgelm.cli.show.quality_rows import show, show_share
from edgelm.units import count, format_bytes, format_seconds

if TYPE_CHECKING:
    from edgelm_converters.compare import Candidate, Frontier

EXAMPLES = ("edgelm quantize compare smollm2 --bits 3,4 --methods rtn,best --svg frontier.svg",)

_DTYPES = ("auto", "source", "float16", "bfloat16", "float32")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    from edgelm.evaluate.rows import Measuring
    from edgelm_converters.methods.registry import METHODS

    actions = parser.add_subparsers(metavar="ACTION", title="actions", required=True)
    compare = actions.add_parser(
        "compare", help="quantize a model in several ways and measure each", allow_abbrev=False
    )
    compare.set_defaults(action=_compare)
    add = compare.add_argument
    add("source", metavar="SOURCE", help="what `edgelm convert` takes")
    add("--bits", type=_numbers(int), metavar="N,N", help="widths of every layer (default 3,4)")
    add(
        "--methods",
        type=_names,
        metavar="A,B",
        default=tuple(METHODS),
        help=f"of {', '.join(METHODS)}, distilled (default {','.join(METHODS)})",
    )
    add(
        "--bpw",
        type=_numbers(float),
        metavar="X,Y",
        default=(),
        help="also budgets, spent where bits help most",
    )
    add("--distill-steps", type=int, default=200, metavar="INT", help="of the method distilled (default 200)")
    add(
        "--group-size",
        type=int,
        default=64,
        choices=(32, 64, 128),
        help="weights that share a scale (default 64)",
    )
    add(
        "--calibration",
        metavar="PATH",
        help="text to calibrate on (default: the text that ships with edgelm)",
    )
    add(
        "--calibration-tokens",
        type=int,
        default=16_384,
        metavar="INT",
        help="tokens to calibrate on (default 16384)",
    )
    add(
        "--dtype",
        default="auto",
        choices=_DTYPES,
        help="unquantized parameters, as for convert (default auto)",
    )
    Measuring.add_flags(compare)
    add("--keep", metavar="DIR", help="keep the models there (default: each is deleted once measured)")
    add("--svg", metavar="FILE", help="plot loss over size (.svg or .png)")
    add_force(compare)
    add("--json", action="store_true", help="print JSON on stdout")
    # Taken before the action too; here only so that it may also stand last.
    add("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)  # fmt: skip


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    arguments.action(arguments)


def _compare(arguments: argparse.Namespace) -> None:
    from edgelm.charts import check_format
    from edgelm.evaluate.rows import Measuring
    from edgelm_converters.compare import Comparing, compare_methods

    if arguments.svg:
        check_format(Path(arguments.svg))
        check_file(arguments.svg, arguments)
    comparing = Comparing(
        methods=arguments.methods,
        bits=_widths(arguments),
        budgets=arguments.bpw,
        group_size=arguments.group_size,
        calibration=arguments.calibration,
        calibration_tokens=arguments.calibration_tokens,
        distill_steps=arguments.distill_steps,
        dtype=arguments.dtype,
        measuring=Measuring.from_flags(arguments),
    )
    keep = Path(arguments.keep).expanduser() if arguments.keep else None
    with progress_bars() as on_progress:
        found = compare_methods(arguments.source, comparing, keep=keep, on_progress=on_progress)
    if arguments.svg:
        plot_frontier(Path(arguments.svg), found)
    if arguments.json:
        print_json(found)
    else:
        _show(found)


def _widths(arguments: argparse.Namespace) -> tuple[int, ...]:
    if arguments.bits is not None:
        return tuple(arguments.bits)
    return () if arguments.bpw else (3, 4)


def _numbers(kind: type) -> Any:
    def parse(text: str) -> tuple[Any, ...]:
        try:
            return tuple(kind(part) for part in text.split(","))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r}, expected numbers as in 3,4") from None

    return parse


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _show(found: Frontier) -> None:
    from rich.table import Table
    from rich.text import Text

    screen = console()
    source = f"{found.source}: {format_bytes(found.source_bytes)}, {found.source_bits_per_weight:.3g} bits per weight"
    screen.print(Text(f"{source}, perplexity {show(found.source_perplexity)}"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "method", "bits"):
        table.add_column(heading, no_wrap=True)
    for heading in (
        "size",
        "per weight",
        "mean KL",
        "99% below",
        "same first",
        "perplexity",
        f"KL − {found.first_method}'s",
        "time",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for candidate in found.candidates:
        table.add_row(*map(Text, _cells(candidate)))
    screen.print(table)
    loss = found.candidates[0].loss
    screen.print(
        Text(
            f"* nothing else is both smaller and closer. KL in nats to the source, {loss.tokens:,} held-out tokens in"
            f" {count(loss.rows, 'row')};"
            f" ± is one standard error. KL − {found.first_method}'s is on the same tokens, at one width."
        )
    )


def _cells(one: Candidate) -> tuple[str, ...]:
    loss = one.loss
    return (
        "*" if one.on_frontier else "",
        one.method,
        one.width,
        format_bytes(one.size_bytes),
        f"{one.bits_per_weight:.2f}",
        show(loss.mean_kl),
        f"{loss.p99_kl.value:.3g}",
        show_share(loss.top1_agreement),
        show(loss.perplexity),
        "" if one.beside_first is None else show(one.beside_first),
        format_seconds(one.elapsed_s),
    )


def plot_frontier(path: Path, found: Frontier) -> None:
    """Draw mean KL over size, one line a method, with standard errors; the frontier is underlaid.

    Raises:
        OptionError: `path` is neither .svg nor .png.
        OutputError: it cannot be written.
    """
    from edgelm.charts import chart

    with chart(
        path, title=f"{found.source}: loss over size", x="size (MB)", y="mean KL to the source (nats)"
    ) as axes:
        best = [one for one in found.candidates if one.on_frontier]
        axes.plot(
            _megabytes(best), _losses(best), color="#cccccc", linewidth=6, solid_capstyle="round", zorder=0
        )
        for method in dict.fromkeys(one.method for one in found.candidates):
            for budgeted in (False, True):
                _plot_line(axes, method, [one for one in found.candidates if one.method == method], budgeted)
        axes.set_yscale("log")


def _plot_line(axes: Any, method: str, candidates: list[Candidate], budgeted: bool) -> None:
    shown = [one for one in candidates if one.width.endswith("bpw") == budgeted]
    if not shown:
        return
    axes.errorbar(
        _megabytes(shown),
        _losses(shown),
        yerr=[one.loss.mean_kl.standard_error for one in shown],
        label=f"{method}, widths by tensor" if budgeted else method,
        marker="s" if budgeted else "o",
        markersize=4,
        linestyle="--" if budgeted else "-",
        linewidth=1,
        capsize=2,
    )
    for one in shown:
        axes.annotate(
            one.width,
            (one.size_bytes / 1e6, one.loss.mean_kl.value),
            xytext=(5, 4),
            textcoords="offset points",
            fontsize=7,
        )


def _megabytes(candidates: list[Candidate]) -> list[float]:
    return [one.size_bytes / 1e6 for one in candidates]


def _losses(candidates: list[Candidate]) -> list[float]:
    return [one.loss.mean_kl.value for one in candidates]
