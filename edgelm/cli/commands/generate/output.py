"""Where the answers of `edgelm generate` go, and what a line of them says."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelm.cli.commands.generate.answer_file import AnswerFile, AnswerWriter, StdoutAnswers
from edgelm.cli.commands.generate.prompt_rows import PromptRow
from edgelm.errors import OptionError, OutputError

if TYPE_CHECKING:
    from edgelm.runtime.many.results import BatchResult


def open_answers(
    arguments: argparse.Namespace, rows: list[PromptRow], run_id: str, stack: ExitStack
) -> tuple[AnswerWriter, list[PromptRow]]:
    """Open where answers go, closed with `stack`, and return it with the rows that have none there yet.

    Raises:
        OutputError: it holds another run's answers, or another process writes to it.
        FormatError: it holds something else than answers.
        OptionError: what goes on in a file was asked of stdout.
    """
    if arguments.output == "-":
        _refuse_without_a_file(arguments)
        return StdoutAnswers(), rows
    file = stack.enter_context(AnswerFile(Path(arguments.output)))
    if not arguments.force:
        _check_same_run(file, rows, run_id, arguments.output)
    if arguments.retry_failed:
        file.drop_failed()
    return file, [row for row in rows if row.id not in file.done]


def _refuse_without_a_file(arguments: argparse.Namespace) -> None:
    """What goes on in a file of answers has no meaning on stdout.

    Raises:
        OptionError: it was asked for.
    """
    for flag in ("retry_failed", "force"):
        if getattr(arguments, flag):
            name = f"--{flag.replace('_', '-')}"
            raise OptionError(
                f"{name} goes on in a file of answers, and --output is stdout", hint=f"leave {name} out"
            )


def _check_same_run(file: AnswerFile, rows: Sequence[PromptRow], run_id: str, output: str) -> None:
    hint = "choose another --output, or --force to go on and mix them"
    for done in file.done.values():
        if done.run != run_id:
            raise OutputError(
                f"line {done.line} of {output} is of run {done.run}, this is {run_id}: another model, adapter"
                " or setting",
                hint=hint,
            )
    for row in rows:
        found = file.done.get(row.id)
        if found is not None and found.prompt != row.digest:
            raise OutputError(
                f"line {found.line} of {output} answers another prompt than line {row.line} of the input,"
                f" both of id {row.id!r}",
                hint=hint,
            )


def answer_row(row: PromptRow, result: BatchResult, run_id: str) -> dict[str, Any]:
    """Make one line of the output; `docs/batch.md` has its fields."""
    answer: dict[str, Any] = {"id": row.id, "text": None, "reason": None, "usage": None, "error": None}
    completion, error = result.completion, result.error
    if error is not None:
        answer["error"] = {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
    if completion is not None:
        usage = completion.usage
        answer |= {"text": completion.text, "reason": completion.reason}
        answer["usage"] = {
            name: getattr(usage, name) for name in ("prompt_tokens", "cached_tokens", "completion_tokens")
        }
        more = {
            "thinking": completion.thinking,
            "tool_calls": [dataclasses.asdict(call) for call in completion.tool_calls],
            "logprobs": [dataclasses.asdict(token) for token in completion.logprobs],
            "others": [dataclasses.asdict(other) for other in completion.others],
        }
        if completion.score is not None:
            answer["score"] = completion.score
        answer |= {name: value for name, value in more.items() if value}
    if row.meta is not None:
        answer["meta"] = row.meta
    return {**answer, "run": run_id, "prompt": row.digest}
