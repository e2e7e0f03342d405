"""`edgelm eval`: perplexity, distance to a reference, and lm-eval tasks."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from edgelm.cli.parsing.actions import add_force, check_file
from edgelm.cli.parsing.flags import refuse_together
from edgelm.cli.parsing.model_flags import add_adapter, add_model, found_model
from edgelm.cli.show.output import console, print_json
from edgelm.cli.show.progress_bars import progress_bars
from edgelm.cli.show.quality_rows import rows_of, show, show_share
from edgelm.cli.show.two_columns import print_two_columns
from edgelm.units import count, format_bytes

if TYPE_CHECKING:
    from edgelm.evaluate.compare import Comparison
    from edgelm.evaluate.harness import TaskScore
    from edgelm.evaluate.quality import Evaluated, Subject
    from edgelm.evaluate.scores import Estimate

EXAMPLES = (
    "edgelm eval my-model-4bit --reference my-model-bf16",
    "edgelm eval my-model-4bit --text notes.txt --adapter my-adapter",
    "edgelm eval my-model-4bit --tasks arc_easy,hellaswag --limit 100",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    from edgelm.evaluate.rows import Measuring

    add = parser.add_argument
    add_model(parser)
    add(
        "--reference", metavar="MODEL", help="also measure the distance to this model (KL, same first choice)"
    )
    add_adapter(parser)
    add_adapter(parser, "--reference-adapter", of="the reference")
    add(
        "--text",
        metavar="PATH",
        help="a text file or a directory of .txt and .md (default: text that ships with edgelm)",
    )
    Measuring.add_flags(parser)
    add("--tasks", metavar="A,B", help="lm-eval tasks to run instead (pip install 'edgelm[eval]')")
    add("--task-directory", metavar="DIR", help="more tasks, as lm-eval's YAML files")
    add("--limit", type=int, metavar="INT", help="examples of each task (default: all)")
    add("--shots", type=int, metavar="INT", help="solved examples in each prompt (default: the task's own)")
    add("--no-fit-check", action="store_true", help="load even if it would not fit in memory")
    add("--json", action="store_true", help="print JSON on stdout")
    add("--svg", metavar="FILE", help="draw the figures by domain (.svg or .png)")  # fmt: skip
    add_force(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    if arguments.tasks:
        _run_tasks(arguments)
    else:
        _run_quality(arguments)


def _run_quality(arguments: argparse.Namespace) -> None:
    from edgelm.charts import check_format
    from edgelm.errors import OptionError
    from edgelm.evaluate.quality import evaluate
    from edgelm.evaluate.rows import Measuring

    if arguments.reference_adapter and not arguments.reference:
        raise OptionError("--reference-adapter was given without --reference")
    for flag in ("limit", "shots", "task_directory"):
        if getattr(arguments, flag) is not None:
            raise OptionError(f"--{flag.replace('_', '-')} was given without --tasks")
    measuring = Measuring.from_flags(arguments)
    if arguments.svg:
        check_format(Path(arguments.svg))
        check_file(arguments.svg, arguments)
    model, reference = _subjects(arguments)
    text = Path(arguments.text).expanduser() if arguments.text else None
    with progress_bars() as on_progress:
        found = evaluate(model, reference=reference, text=text, measuring=measuring, on_progress=on_progress)
    if arguments.svg:
        plot_domains(Path(arguments.svg), found)
    if arguments.json:
        print_json(found)
    else:
        print_two_columns(_rows(found))


def _subjects(arguments: argparse.Namespace) -> tuple[Subject, Subject | None]:
    """Both are found, with their adapters, before either runs."""
    model = _subject(arguments.model, arguments.adapter, arguments)
    if not arguments.reference:
        return model, None
    return model, _subject(arguments.reference, arguments.reference_adapter, arguments)


def _subject(name: str, adapters: list[str] | None, arguments: argparse.Namespace) -> Subject:
    from edgelm.adapters.find import find_uses
    from edgelm.evaluate.quality import Subject

    directory = found_model(name)
    uses = find_uses(adapters or (), directory)
    return Subject(directory, uses or None, check_fit=not arguments.no_fit_check)


def _rows(found: Evaluated) -> list[tuple[str, str]]:
    from edgelm.evaluate.quality import comparison_of

    quality = found.quality
    rows = [
        ("model", f"{found.model}, {format_bytes(found.size_bytes)} in memory"),
        (
            "measured on",
            f"{found.text}, {count(quality.tokens, 'token')} in {rows_of(quality.rows)} of {found.length}",
        ),
        ("perplexity", show(quality.perplexity)),
    ]
    if len(quality.perplexity_by_domain) > 1:
        rows.append(("  by domain", _by_domain(quality.perplexity_by_domain)))
    comparison = comparison_of(found)
    if comparison is not None:
        rows += [("reference", str(found.reference)), *_comparison_rows(comparison)]
    return rows


def _comparison_rows(comparison: Comparison) -> list[tuple[str, str]]:
    rows = [
        ("  perplexity", show(comparison.reference_perplexity)),
        ("  mean KL", f"{show(comparison.mean_kl)} nats"),
        ("  99% of tokens", f"KL below {show(comparison.p99_kl)}"),
        ("  same first choice", show_share(comparison.top1_agreement)),
    ]
    if len(comparison.kl_by_domain) > 1:
        rows.append(("  KL by domain", _by_domain(comparison.kl_by_domain)))
    return rows


def _by_domain(estimates: dict[str, Estimate]) -> str:
    return ", ".join(f"{domain} {estimate.value:.3g}" for domain, estimate in estimates.items())


def plot_domains(path: Path, found: Evaluated) -> None:
    """Draw bars of mean KL by domain where there is a reference, else of perplexity, with standard errors."""
    from edgelm.charts import chart
    from edgelm.evaluate.quality import comparison_of

    comparison = comparison_of(found)
    if comparison is not None:
        estimates, label = comparison.kl_by_domain, f"mean KL to {found.reference} (nats)"
    else:
        estimates, label = found.quality.perplexity_by_domain, "perplexity"
    names = list(estimates)
    with chart(path, title=found.model, x=label, y="", height_in=1.2 + 0.35 * len(names)) as axes:
        axes.barh(
            names,
            [estimate.value for estimate in estimates.values()],
            xerr=[estimate.standard_error for estimate in estimates.values()],
            color="#4c78a8",
            ecolor="#333333",
        )
        axes.invert_yaxis()


def _run_tasks(arguments: argparse.Namespace) -> None:
    from edgelm.evaluate.harness import run_tasks

    refuse_together(
        arguments, "--tasks", "reference", "reference_adapter", "text", "svg", "tokens", "length", "seed"
    )
    subject = _subject(arguments.model, arguments.adapter, arguments)
    names = [name.strip() for name in arguments.tasks.split(",") if name.strip()]
    with progress_bars() as on_progress:
        scores = run_tasks(
            subject,
            names,
            limit=arguments.limit,
            shots=arguments.shots,
            task_directory=Path(arguments.task_directory) if arguments.task_directory else None,
            on_progress=on_progress,
        )
    if arguments.json:
        print_json({"model": subject.name, "tasks": scores})
    else:
        _show_tasks(scores)


def _show_tasks(scores: list[TaskScore]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("task", "metric"):
        table.add_column(heading)
    table.add_column("value", justify="right")
    table.add_column("examples", justify="right")
    for score in scores:
        examples = "" if score.examples is None else f"{score.examples:,}"
        table.add_row(*map(Text, (score.task, score.metric, show(score.value), examples)))
    console().print(table)
