"""Reads a file of prompts, one JSON object a line, and says what is wrong with which line.

    {"id": "a", "prompt": "Once upon a time", "max_tokens": 40}
    {"id": "b", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0.7, "meta": {"row": 17}}

Knows nothing about answers.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from edgelm.errors import EdgeLMError

Id = str | int
Written = TypeVar("Written")


@dataclass(frozen=True, slots=True)
class PromptRow:
    """One line that can be asked."""

    line: int
    """Counted from 1."""
    id: Id
    """The row's own, else the line."""
    prompt: Mapping[str, Any]
    """For `Model.generate_many`."""
    meta: Any
    """The row's "meta", which is copied to its answer."""

    @property
    def digest(self) -> str:
        """A hash of all that determines the answer, apart from the model and the run's settings."""
        return digest(self.prompt)


@dataclass(frozen=True, slots=True)
class BadRow:
    """One line that cannot be asked, and why."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Wrapping:
    """What is put around each row before it is asked."""

    chat: bool = False
    """A prompt becomes a user's message."""
    system: str | None = None
    """Put before messages that have none."""

    def around(self, prompt: dict[str, Any]) -> dict[str, Any]:
        """Make of `prompt` what is to be asked.

        Raises:
            ValueError: a system prompt for plain text.
        """
        said = dict(prompt)
        if self.chat and isinstance(said.get("prompt"), str):
            said["messages"] = [{"role": "user", "content": said.pop("prompt")}]
        if self.system is None:
            return said
        messages = said.get("messages")
        if messages is None:
            raise ValueError("--system needs messages, or --chat to make messages of prompts")
        if isinstance(messages, list) and not any(_is_system(message) for message in messages):
            said["messages"] = [{"role": "system", "content": self.system}, *messages]
        return said


def read_rows(text: str, wrapping: Wrapping) -> tuple[list[PromptRow], list[BadRow]]:
    """Read the rows of JSON lines or of one JSON list, and those that are none; blank lines are skipped."""
    lines = ((number, line) for number, line in enumerate(_lines(text), 1) if line.strip())
    return check_rows(lines, _parse, wrapping)


def check_rows(
    found: Iterable[tuple[int, Written]], parse: Callable[[Written], dict[str, Any]], wrapping: Wrapping
) -> tuple[list[PromptRow], list[BadRow]]:
    """Read rows by their lines, as `parse` does (it raises ValueError with what is wrong), and those that are none."""
    rows: list[PromptRow] = []
    bad: list[BadRow] = []
    lines: dict[Id, int] = {}
    for number, written in found:
        try:
            row = _read_row(number, parse(written), wrapping)
            if row.id in lines:
                raise ValueError(f"id {row.id!r} is that of line {lines[row.id]} too")
        except (ValueError, RecursionError) as error:
            bad.append(BadRow(number, str(error)))
        except EdgeLMError as error:
            bad.append(BadRow(number, f"{error.message} ({error.hint})" if error.hint else error.message))
        else:
            lines[row.id] = number
            rows.append(row)
    return rows, bad


def _lines(text: str) -> list[str]:
    """The lines; of one JSON list, whatever the file is called, its items."""
    if text.lstrip().startswith("["):
        try:
            items = json.loads(text)
        except (ValueError, RecursionError):
            items = None
        if isinstance(items, list):
            return [json.dumps(item) for item in items]
    return text.split("\n")


def digest(value: object) -> str:
    """16 hexadecimal digits of a value that JSON can write."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def as_read(row: Mapping[str, Any] | str) -> dict[str, Any]:
    """Take a row of `edgelm.cli.commands.generate.prompt_table` as it is.

    Raises:
        ValueError: it says why there is none.
    """
    if isinstance(row, str):
        raise ValueError(row)
    return dict(row)


def _read_row(number: int, said: dict[str, Any], wrapping: Wrapping) -> PromptRow:
    from edgelm.runtime.generation.options import GenerationOptions
    from edgelm.runtime.many.prompts import Task

    own = said.pop("id", number)
    if isinstance(own, bool) or not isinstance(own, str | int):
        raise ValueError(f"id is {own!r}, expected text or a whole number")
    meta = said.pop("meta", None)
    if said.get("prompt") in ("", []):
        raise ValueError("the prompt is empty")
    prompt = wrapping.around(said)
    _check_names(prompt)
    Task.of(0, prompt, GenerationOptions())
    return PromptRow(number, own, prompt, meta)


def _check_names(prompt: Mapping[str, Any]) -> None:
    from edgelm.runtime.many.prompts import ROW_KEYS

    for name in prompt:
        if name not in ROW_KEYS:
            near = difflib.get_close_matches(name, ROW_KEYS, n=1)
            advice = f"did you mean {near[0]}?" if near else 'data of your own goes under "meta"'
            raise ValueError(f"there is no setting {name!r}; {advice}")


def _parse(line: str) -> dict[str, Any]:
    try:
        said = json.loads(line, parse_constant=_refuse_constant, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at column {error.colno}") from error
    if not isinstance(said, dict):
        raise ValueError(f"a JSON {type(said).__name__}, expected an object")
    try:
        json.dumps(said, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("it holds half of a surrogate pair, which is not valid Unicode") from None
    return said


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON lets a name come twice, and readers differ on which counts: here none does."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it names {twice!r} twice")
    return made


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which is not JSON")


def _is_system(message: object) -> bool:
    return isinstance(message, dict) and message.get("role") == "system"
