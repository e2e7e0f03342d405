"""`edgelm generate`: answers a file of prompts, many at once, and goes on where it was stopped."""

from __future__ import annotations

import argparse
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelm.cli.parsing.answer_flags import (
    add_best_of,
    add_form,
    add_limits,
    add_logprobs,
    add_sampling,
    said_settings,
    say_recommended,
)
from edgelm.cli.parsing.answer_form import form_of_answer
from edgelm.cli.parsing.default_model import choose_model, named_model
from edgelm.cli.parsing.model_flags import add_adapter, add_dtype, add_model
from edgelm.cli.parsing.texts import check_text
from edgelm.cli.show.output import say
from edgelm.cli.show.progress_bars import progress_bars
from edgelm.errors import EngineError, Interrupted, NotFoundError
from edgelm.units import count

if TYPE_CHECKING:
    from edgelm.adapters.use import AdapterUse
    from edgelm.cli.commands.generate.answer_file import AnswerWriter
    from edgelm.cli.commands.generate.prompt_rows import PromptRow
    from edgelm.progress import OnProgress
    from edgelm.runtime.many.results import BatchResult

EXAMPLES = (
    "edgelm generate smollm2-135m-instruct-4bit --input prompts.jsonl --output answers.jsonl --chat",
    "edgelm generate MODEL --input rows.csv --template 'Translate: {text}' --output answers.jsonl --chat",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    from edgelm.cli.commands.generate.prompt_table import FORMATS
    from edgelm.runtime.many.options import BatchOptions

    add = parser.add_argument
    add_model(parser, nargs="?")
    add(
        "--input",
        required=True,
        metavar="FILE",
        help="prompts, by its ending: one JSON object a line, .txt, .csv or .tsv; - is stdin",
    )
    add(
        "--format",
        choices=FORMATS,
        help="what the input is, whatever its name (default: by its ending, else jsonl)",
    )
    add(
        "--template",
        metavar="TEXT",
        help="a prompt of each row of a table, its columns in braces, as in 'Translate: {text}'; of a line, {text}",
    )
    add("--output", required=True, metavar="FILE", help="answers, appended as they come; - is stdout")
    add(
        "--chat",
        action="store_true",
        help='ask each "prompt" as a user\'s message, through the chat template',
    )
    add("--system", metavar="TEXT|@FILE", help="the system prompt of messages that have none")
    add_limits(parser)
    add_best_of(parser)
    add_logprobs(parser)
    add_adapter(parser)
    add_dtype(parser)
    add("--skip-bad", action="store_true", help="leave out rows that cannot be asked, instead of stopping")
    add("--retry-failed", action="store_true", help="ask again what was answered with an error")
    add("--force", action="store_true", help="go on in a file that another model, prompt or setting wrote to")
    add("--no-fit-check", action="store_true", help="load even if it would not fit in memory")
    BatchOptions.add_flags(parser)
    add_form(parser.add_argument_group("form of the answers"))
    add_sampling(
        parser.add_argument_group("sampling, of rows that do not say otherwise; else as the model recommends")
    )


def run(arguments: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        FormatError: rows that cannot be asked, all listed; or the output holds something else than answers.
        OutputError: the output is another run's, or the disk refuses.
        EngineError: some prompts failed; their answers say why.
        OptionError: a setting outside what it may be, an empty MODEL.
        Interrupted: Ctrl-C; the same command goes on.
    """
    from edgelm.api import find_model
    from edgelm.cli.commands.generate.input import read_prompts
    from edgelm.cli.commands.generate.output import open_answers

    settings = _settings(arguments)
    name = named_model(arguments.model)
    rows = read_prompts(arguments)
    name = name or choose_model()
    with ExitStack() as stack:
        on_progress = stack.enter_context(progress_bars())
        directory = find_model(name, on_progress)
        uses = _uses(arguments.adapter, directory)
        run_id = _run_id(directory, uses, settings)
        writer, rest = open_answers(arguments, rows, run_id, stack)
        if len(rest) < len(rows):
            say(f"{len(rows) - len(rest):,} of {count(len(rows), 'prompt')} are answered already")
        if not rest:
            return
        model = stack.enter_context(closing(_load(directory, arguments, on_progress)))
        say_recommended(model, said_settings(arguments))
        asked = [row.prompt for row in rest]
        results = model.generate_many(asked, rows=arguments.rows, on_progress=on_progress, **settings)
        failed = _answer(rest, results, writer, run_id)
    if failed:
        raise EngineError(
            f"{failed:,} of {count(len(rest), 'prompt')} failed",
            hint='their answers say why, under "error"; --retry-failed asks them again',
        )


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Read the settings of all rows; they are checked before a file is read."""
    from edgelm.runtime.generation.options import GenerationOptions
    from edgelm.runtime.many.options import BatchOptions

    BatchOptions.from_flags(arguments)
    settings = {
        **said_settings(arguments),
        "stop": tuple(check_text(text, "--stop") for text in arguments.stop),
        "grammar": form_of_answer(schema=arguments.schema, regex=arguments.regex, grammar=arguments.grammar),
    }
    GenerationOptions().changed(**settings)
    return settings


def _uses(adapters: Sequence[str] | None, directory: Path) -> Sequence[AdapterUse]:
    """The adapters that were named, found before anything runs."""
    if not adapters:
        return ()
    from edgelm.adapters.find import find_uses

    return find_uses(adapters, directory)


def _run_id(directory: Path, uses: Sequence[AdapterUse], settings: dict[str, Any]) -> str:
    """A hash of everything but the prompt that determines an answer."""
    from edgelm.cli.commands.generate.prompt_rows import digest
    from edgelm.runtime.generation.recommended import recommended
    from edgelm.zoo.weights.fingerprint import adapter_fingerprint, fingerprint

    advice = recommended(directory)
    try:
        weights = fingerprint(directory)
        on_top = [(adapter_fingerprint(use.directory), use.weight) for use in uses] or None
    except OSError as error:
        raise NotFoundError(f"{error.filename} cannot be read: {error.strerror}") from error
    return digest([weights, on_top, settings, dict(advice.settings), advice.max_tokens])


def _load(directory: Path, arguments: argparse.Namespace, on_progress: OnProgress) -> Any:
    from edgelm.api import load
    from edgelm.library.recent import remember_model

    say(f"loading {directory.name}")
    model = load(
        directory,
        adapter=arguments.adapter,
        dtype=arguments.dtype,
        check_fit=not arguments.no_fit_check,
        on_progress=on_progress,
    )
    remember_model(model.name)
    return model


def _answer(
    rows: Sequence[PromptRow],
    results: Generator[BatchResult, None, None],
    writer: AnswerWriter,
    run_id: str,
) -> int:
    """Write each answer as it comes; how many are errors."""
    from edgelm.cli.commands.generate.output import answer_row

    done = failed = 0
    try:
        with closing(results):
            for result in results:
                writer.write(answer_row(rows[result.index], result, run_id))
                done += 1
                failed += result.error is not None
    except KeyboardInterrupt:
        raise Interrupted(
            f"stopped after {done:,} of {count(len(rows), 'prompt')}",
            hint="the same command goes on from there",
        ) from None
    return failed
