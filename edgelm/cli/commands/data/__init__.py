"""`edgelm data`: check training data, see what of it is trained, and split it, before any model loads."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelm.cli.commands.data.questions import check_questions, holds_questions, question_line
from edgelm.cli.commands.data.trained_text import row_json, row_lines
from edgelm.cli.parsing.actions import add_force, check_file
from edgelm.cli.parsing.flags import refuse_together
from edgelm.cli.parsing.model_flags import found_model
from edgelm.cli.show.output import paint, print_json, say
from edgelm.cli.show.progress_bars import progress_bars
from edgelm.errors import FormatError, OptionError
from edgelm.units import count

if TYPE_CHECKING:
    from edgelm.tune.data.dataset import Dataset
    from edgelm.tune.data.prepare import Prepared
    from edgelm.tune.data.problems import Problem, Report
    from edgelm.tune.data.rows import Row

EXAMPLES = (
    "edgelm data check examples.jsonl --model smollm2-135m-instruct-4bit",
    "edgelm data check questions.jsonl --reward exact:final",
    "edgelm data show examples.jsonl --model smollm2-135m-instruct-4bit",
    "edgelm data split examples.jsonl --share 0.1",
)

_SHOWN_PROBLEMS = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_check(actions)
    _add_show(actions)
    _add_split(actions)


def _add_check(actions: Any) -> None:
    check = _action(
        actions, "check", "list every bad row with its line, field and reason; exit 1 if there are any"
    )
    check.add_argument(
        "--validation", metavar="FILE", help="a second file, whose prompts must not be in the first"
    )
    check.add_argument(
        "--model", metavar="MODEL", help="also render rows by this model's template; no weights load"
    )
    check.add_argument(
        "--reward",
        action="append",
        default=[],
        metavar="REWARD",
        help="rows are questions whose answers this judges (repeatable): is there what it reads?",
    )
    check.add_argument(
        "--all", action="store_true", help=f"list more than the first {_SHOWN_PROBLEMS} problems"
    )
    _add_settings(check)


def _add_show(actions: Any) -> None:
    show = _action(actions, "show", "print rows as the model reads them, with what is trained in colour")
    show.add_argument(
        "--model", metavar="MODEL", required=True, help="whose template and tokenizer; no weights load"
    )
    show.add_argument("--first", type=int, default=3, metavar="N", help="so many rows (default 3)")
    show.add_argument("--line", type=int, metavar="N", help="only the row on this line of the file")
    _add_settings(show)


def _add_split(actions: Any) -> None:
    split = _action(actions, "split", "write train.jsonl and valid.jsonl, without a prompt in both")
    split.add_argument(
        "--share", type=float, default=0.1, metavar="S", help="of the rows for validation (default 0.1)"
    )
    split.add_argument("--seed", type=int, default=0, metavar="N", help="decides which (default 0)")
    add_force(split)
    split.add_argument(
        "-o", "--output", metavar="DIR", help="where to (default: beside the file, under its name)"
    )


def _action(actions: Any, name: str, help_text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name, help=help_text, description=help_text.capitalize()
    )
    parser.add_argument(
        "file", metavar="FILE", help="JSONL, JSON, CSV, Parquet or text; a folder; a Hub dataset"
    )
    parser.add_argument("--json", action="store_true", help="print JSON on stdout")
    return parser


def _add_settings(parser: argparse.ArgumentParser) -> None:
    from edgelm.tune.data.settings import DataSettings

    DataSettings.add_data_flags(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    {"check": _check, "show": _show, "split": _split}[arguments.action](arguments)


def _check(arguments: argparse.Namespace) -> None:
    from edgelm.tune.data.reading.sources import find_sources
    from edgelm.tune.data.settings import DataSettings

    if arguments.model is None:
        reason = "a check without --model, whose tokenizer and template they need"
        refuse_together(arguments, reason, *DataSettings.__dataclass_fields__)

    sources = find_sources(arguments.file)
    validation = arguments.validation or sources.validation
    if arguments.reward or holds_questions(sources.train):
        tokenizer = None if arguments.model is None else _tokenizer(arguments.model)
        report, facts = check_questions(
            sources.train, validation, tokenizer, arguments.reward, arguments.max_tokens
        )
    elif arguments.model is None:
        report, facts = _check_rows(sources.train, validation), {}
    else:
        prepared = _prepare(arguments, sources.train, validation)
        report, facts = prepared.report, _facts(prepared)
    if arguments.json:
        print_json({**_report_json(report), **facts})
    else:
        _print_report(report, facts, show_all=arguments.all)
    if report.errors:
        rows = len({problem.origin for problem in report.errors})
        raise FormatError(f"{rows:,} of {count(report.rows, 'row')} cannot be trained", hint=_hint(report))


def _hint(report: Report) -> str:
    sorts = {problem.sort for problem in report.errors}
    if sorts == {"too long"}:
        return (
            "--max-tokens allows longer rows; --long-rows truncate, split or drop says what to do with them"
        )
    return "mend or remove these rows, and check again"


def _check_rows(train: str, validation: str | None) -> Report:
    """Check without a model what can be said without its tokenizer."""
    from edgelm.tune.data.prepare import read_all

    return read_all(train, validation).report


def _prepare(arguments: argparse.Namespace, train: str, validation: str | None) -> Prepared:
    from edgelm.tune.data.prepare import prepare
    from edgelm.tune.data.settings import DataSettings

    settings = DataSettings.from_flags(arguments)
    tokenizer = _tokenizer(arguments.model)
    with progress_bars() as on_progress:
        return prepare(train, tokenizer, settings, validation=validation, on_progress=on_progress)


def _tokenizer(model: str) -> Any:
    from edgelm.model.load import load_tokenizer
    from edgelm.zoo.configs.normalise import normalise_config, read_config

    directory = found_model(model)
    return load_tokenizer(directory, normalise_config(read_config(directory)))


def _facts(prepared: Prepared) -> dict[str, Any]:
    parts = {"train": prepared.train, "validation": prepared.validation}
    return {
        name: {
            "rows": len(dataset),
            "kind": dataset.kind,
            "tokens": dataset.token_count,
            "trained_tokens": dataset.target_count,
            "longest": dataset.longest,
            "sha256": dataset.sha256,
            "changes": list(dataset.changes),
            **_pair_facts(dataset),
        }
        for name, dataset in parts.items()
        if dataset is not None
    }


def _pair_facts(dataset: Dataset) -> dict[str, Any]:
    """How many tokens both sides of pairs have; length alone should not tell them apart."""
    from edgelm.tune.data.rows import Pair

    pairs = [row for row in dataset if isinstance(row, Pair)]
    if not pairs:
        return {}
    chosen, rejected = (
        sum(getattr(pair, side).target_count for pair in pairs) for side in ("chosen", "rejected")
    )
    longer = sum(pair.chosen.target_count > pair.rejected.target_count for pair in pairs)
    return {
        "chosen_tokens": chosen,
        "rejected_tokens": rejected,
        "length_ratio": round(chosen / rejected, 3),
        "chosen_longer": longer,
    }


def _report_json(report: Report) -> dict[str, Any]:
    return {
        "rows": report.rows,
        "formats": dict(report.formats),
        "counts": report.counts,
        "errors": [_problem_json(problem) for problem in report.errors],
        "warnings": [_problem_json(problem) for problem in report.warnings],
    }


def _problem_json(problem: Problem) -> dict[str, Any]:
    return {
        "file": problem.origin.file,
        "line": problem.origin.line,
        "field": problem.field,
        "reason": problem.reason,
        "sort": problem.sort,
    }


def _print_report(report: Report, facts: dict[str, Any], *, show_all: bool) -> None:
    listed = report.problems if show_all else report.problems[:_SHOWN_PROBLEMS]
    for problem in listed:
        label = paint(problem.severity, "31" if problem.severity == "error" else "33", sys.stdout)
        print(f"{label} {problem}")
    if len(listed) < len(report.problems):
        print(f"and {len(report.problems) - len(listed):,} more: --all lists them")
    formats = ", ".join(f"{many:,} {name}" for name, many in report.formats.most_common())
    print(f"{count(report.rows, 'row')}: {formats or 'none readable'}")
    for sort, many in report.counts.items():
        print(f"  {many:,} {sort}")
    for name, fact in facts.items():
        if fact["kind"] == "rollout":
            print(question_line(name, fact))
            continue
        print(
            f"{name}: {count(fact['rows'], 'row')}, {count(fact['tokens'], 'token')}, of which"
            f" {fact['trained_tokens']:,} are trained;"
            f" longest {fact['longest']:,}"
        )
        if "length_ratio" in fact:
            print(
                f"  chosen answers have {fact['length_ratio']:.2f} times the tokens of rejected ones;"
                f" {fact['chosen_longer']:,} are longer"
            )
        for change in fact["changes"]:
            print(f"  {change}")


def _show(arguments: argparse.Namespace) -> None:
    from edgelm.tune.data.reading.sources import find_sources

    if arguments.line is not None:
        refuse_together(arguments, "--line, which shows one row", "first")
    if arguments.first < 1:
        raise OptionError(f"--first is {arguments.first}, expected 1 or more")
    tokenizer = _tokenizer(arguments.model)
    rows, problems = _rows_to_show(arguments, find_sources(arguments.file).train, tokenizer)
    if arguments.json:
        shown = [row_json(row, tokenizer) for row in rows]
        print_json({"rows": shown, "problems": [_problem_json(problem) for problem in problems]})
        return
    for row in rows:
        print("\n".join(row_lines(row, tokenizer)))
    for problem in problems:
        say(str(problem))


def _rows_to_show(
    arguments: argparse.Namespace, source: str, tokenizer: Any
) -> tuple[list[Row], list[Problem]]:
    """The rows asked for, and what is wrong among them; reading ends where they do."""
    from edgelm.tune.data.encoding.encode import RowEncoder
    from edgelm.tune.data.encoding.formats import read_record
    from edgelm.tune.data.problems import Problem
    from edgelm.tune.data.reading.readers import read_rows
    from edgelm.tune.data.settings import DataSettings

    encoder = RowEncoder(tokenizer, DataSettings.from_flags(arguments))
    rows: list[Row] = []
    problems: list[Problem] = []
    for written in read_rows(source):
        if arguments.line is not None and written.origin.line != arguments.line:
            continue
        record = written if isinstance(written, Problem) else read_record(written)
        if isinstance(record, Problem):
            problems.append(record)
            continue
        encoded, found = encoder.encode(record[1])
        rows += encoded
        problems += found
        if arguments.line is None and len(rows) >= arguments.first:
            break
    if arguments.line is not None and not rows and not problems:
        raise OptionError(f"--line is {arguments.line}, and no row of {source} begins there")
    return rows, problems


def _split(arguments: argparse.Namespace) -> None:
    from edgelm.atomic import atomic_write
    from edgelm.tune.data.prepare import read_records
    from edgelm.tune.data.split import split_by_prompt

    target = Path(arguments.output) if arguments.output else Path(arguments.file).with_suffix("")
    paths = {name: target / f"{name}.jsonl" for name in ("train", "valid")}
    for path in paths.values():
        check_file(path, arguments)
    found = read_records(arguments.file)
    found.report.require_clean()
    parts = split_by_prompt(found.records, found.written, arguments.share, arguments.seed)
    counts = {}
    for (name, path), part in zip(paths.items(), parts, strict=True):
        lines = [json.dumps(row.value, ensure_ascii=False, default=str) for row in part]
        atomic_write(path, "".join(f"{line}\n" for line in lines))
        counts[name] = len(lines)
    if arguments.json:
        print_json({name: {"path": paths[name], "rows": many} for name, many in counts.items()})
    else:
        for name, many in counts.items():
            print(f"{paths[name]}: {count(many, 'row')}")
