"""The form of an answer: a pattern, a JSON Schema, a length."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import regex

from edgelm.errors import FormatError, NotFoundError, OptionError
from edgelm.json_files import read_json
from edgelm.rewards.reward import JudgedAnswer, Reward

_SEARCH_S = 1.0
"""A pattern that has not decided by then does not match: backtracking may take for ever."""


class RegexReward(Reward):
    """Gives 1 to an answer in which `pattern` is found, else 0; `^` and `$` are the ends of lines.

    Raises:
        OptionError: the pattern is none.
    """

    def __init__(self, pattern: str) -> None:
        self.name = "regex"
        try:
            self._pattern = regex.compile(pattern, regex.MULTILINE)
        except regex.error as error:
            raise OptionError(f"the pattern {pattern!r} of a reward cannot be read: {error}") from error

    def score(self, answers: Sequence[JudgedAnswer]) -> list[float | None]:
        """Return 1 or 0 for each answer."""
        return [float(self._is_found(each.text)) for each in answers]

    def _is_found(self, text: str) -> bool:
        try:
            return self._pattern.search(text, timeout=_SEARCH_S) is not None
        except TimeoutError:
            return False


class SchemaReward(Reward):
    """Gives 1 to an answer that is JSON of a schema, and nothing else, else 0.

    Raises:
        FormatError: the schema is none.
    """

    def __init__(self, schema: Any, name: str = "schema") -> None:
        from jsonschema import SchemaError
        from jsonschema.validators import validator_for

        self.name = "schema"
        kind = validator_for(schema)
        try:
            kind.check_schema(schema)
        except SchemaError as error:
            raise FormatError(f"{name} is no JSON Schema: {error.message}") from error
        # Formats such as dates count; references are looked up in the schema alone, nothing is fetched.
        self._validator = kind(schema, format_checker=kind.FORMAT_CHECKER)

    @classmethod
    def of_file(cls, path: Path) -> SchemaReward:
        """Read the schema from a file.

        Raises:
            NotFoundError, FormatError: it is not there, or no JSON Schema.
        """
        if not path.is_file():
            raise NotFoundError(f"{path} is no file, expected a JSON Schema")
        return cls(read_json(path), str(path))

    def score(self, answers: Sequence[JudgedAnswer]) -> list[float | None]:
        """Return 1 or 0 for each answer."""
        return [float(self._is_valid(each.text)) for each in answers]

    def _is_valid(self, text: str) -> bool:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return False
        return bool(self._validator.is_valid(value))


class LengthReward(Reward):
    """Gives 1 to an answer of `least` to `most` words; outside it falls in a line, to 0 at no words and at twice `most`.

    Raises:
        OptionError: no such range.
    """

    def __init__(self, least: int, most: int) -> None:
        if not 0 <= least <= most or most < 1:
            raise OptionError(f"a length is {least}-{most} words, expected 0 <= least <= most")
        self.name = "length"
        self._least, self._most = least, most

    def score(self, answers: Sequence[JudgedAnswer]) -> list[float | None]:
        """Return a number from 0 to 1 for each answer."""
        return [self._one(len(each.text.split())) for each in answers]

    def _one(self, words: int) -> float:
        if words < self._least:
            return words / self._least
        return 1.0 if words <= self._most else max(0.0, 2 - words / self._most)
