"""The form that an answer must have, as flags say it: a schema or its file, the file of a grammar, or a regex."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edgelm.cli.parsing.texts import check_text, read_text
from edgelm.errors import EdgeLMError, OptionError

if TYPE_CHECKING:
    from edgelm.runtime.constraints.grammar import Grammar


def form_of_answer(*, schema: str | None, regex: str | None, grammar: Path | None) -> Grammar | None:
    """Make the grammar of the form that is given; None if none is.

    Raises:
        NotFoundError: no such file.
        FormatError: the file is not UTF-8 text.
        OptionError, UnsupportedError: it cannot be enforced; a file's name comes before what is wrong.
    """
    from edgelm.runtime.constraints.grammar import Grammar

    if regex is not None:
        return Grammar.from_regex(check_text(regex, "--regex"))
    if schema is not None:
        is_inline = schema.lstrip().startswith("{")
        text = check_text(schema, "--schema") if is_inline else read_text(_file(schema, "--schema"))
        with _naming("--schema" if is_inline else schema):
            return Grammar.from_schema(text)
    if grammar is None:
        return None
    text = read_text(grammar)
    with _naming(str(grammar)):
        return Grammar.from_lark(text)


def _file(text: str, flag: str) -> Path:
    if not text.strip():
        raise OptionError(f"{flag} is empty, expected a file or a JSON Schema")
    return Path(text).expanduser()


@contextmanager
def _naming(origin: str) -> Iterator[None]:
    """Say of a form that is refused where it stands."""
    try:
        yield
    except EdgeLMError as error:
        raise type(error)(f"{origin}: {error.message}", hint=error.hint) from error
