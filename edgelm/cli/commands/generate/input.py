"""The prompts that `edgelm generate` is given: a file or stdin, of any of its formats."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from edgelm.cli.commands.generate.prompt_rows import (
    BadRow,
    PromptRow,
    Wrapping,
    as_read,
    check_rows,
    read_rows,
)
from edgelm.cli.commands.generate.prompt_table import check_template, format_of, table_rows, text_rows
from edgelm.cli.parsing.texts import read_stdin, text_or_file
from edgelm.cli.show.output import warn
from edgelm.errors import FormatError, NotFoundError, OptionError

_LISTED = 20
"""Bad rows shown at most."""


def read_prompts(arguments: argparse.Namespace) -> list[PromptRow]:
    """Read the rows that can be asked.

    Raises:
        FormatError: rows that cannot be asked, all listed, unless they are to be skipped; or there are none.
        NotFoundError: the input cannot be read.
        OptionError: a template that does not fit, or one file for both ends.
    """
    system = None if arguments.system is None else text_or_file(arguments.system, "--system")
    wrapping = Wrapping(chat=arguments.chat, system=system)
    form = format_of(arguments.input, arguments.format)
    check_template(arguments.template, form)
    text = _input_text(arguments)
    if form == "jsonl":
        rows, bad = read_rows(text, wrapping)
    elif form == "text":
        rows, bad = check_rows(text_rows(text, arguments.template), as_read, wrapping)
    else:
        delimiter = "," if form == "csv" else "\t"
        found = table_rows(text, arguments.template, delimiter=delimiter, name=arguments.input)
        rows, bad = check_rows(found, as_read, wrapping)
    if bad:
        _report_bad(bad, arguments)
    if not rows:
        hint = 'a line is {"prompt": "…"}' if form == "jsonl" else None
        raise FormatError(f"{arguments.input} holds no prompts", hint=hint)
    return rows


def _input_text(arguments: argparse.Namespace) -> str:
    if arguments.input == "-":
        return read_stdin()
    path = Path(arguments.input)
    output = Path(arguments.output)
    if arguments.output != "-" and path.exists() and output.exists() and path.samefile(output):
        raise OptionError(f"--input and --output are both {path}")
    try:
        return path.read_bytes().decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path} is not UTF-8 text at offset {error.start}") from error
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {error.strerror}") from error


def _report_bad(bad: Sequence[BadRow], arguments: argparse.Namespace) -> None:
    """List the rows that cannot be asked.

    Raises:
        FormatError: unless they are to be skipped.
    """
    listed = [f"  line {row.line}: {row.reason}" for row in bad[:_LISTED]]
    if len(bad) > _LISTED:
        listed.append(f"  and {len(bad) - _LISTED:,} more")
    plural = "" if len(bad) == 1 else "s"
    text = "\n".join([f"{len(bad):,} row{plural} of {arguments.input} cannot be asked", *listed])
    if not arguments.skip_bad:
        raise FormatError(text, hint="--skip-bad leaves them out")
    warn(text)
