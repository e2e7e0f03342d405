"""The form that an answer must have, as flags say it: the file of a schema or a grammar, or a regex."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgelm.cli.stdin import check_text
from edgelm.errors import EdgeLMError, FormatError, NotFoundError

if TYPE_CHECKING:
    from edgelm.runtime.constraints.grammar import Grammar


def form_of_answer(*, schema: Path | None, regex: str | None, grammar: Path | None) -> Grammar | None:
    """The grammar of the one that is given; None if none is.

    Raises:
        NotFoundError: no such file.
        FormatError: the file is not UTF-8 text.
        OptionError, UnsupportedError: it cannot be enforced; a file's name comes before what is wrong.
    """
    from edgelm.runtime.constraints.grammar import Grammar

    if regex is not None:
        return Grammar.from_regex(check_text(regex, "--regex"))
    file = schema or grammar
    if file is None:
        return None
    text = _read(file)
    try:
        return Grammar.from_schema(text) if schema is not None else Grammar.from_lark(text)
    except EdgeLMError as error:
        raise type(error)(f"{file}: {error.message}", hint=error.hint) from error


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise NotFoundError(f"{file} does not exist") from None
    except OSError as error:
        raise NotFoundError(f"{file} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise FormatError(f"{file} is not UTF-8 text: {error.reason} at byte {error.start}") from error
