"""A file of answers, one JSON object a line, that a killed run can go on writing.

Each line is written whole, by one write, after all that came before it. A line that a kill or a full disk cut
short is removed by the next run. Every answer names the run (model, adapter, settings) and the prompt that it
belongs to, so that runs are not mixed unknowingly. One process writes at a time. Knows nothing about models.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from edgelm.atomic import atomic_write_bytes, disk_errors
from edgelm.cli.commands.generate.prompt_rows import Id
from edgelm.errors import FormatError, OutputError

_FIRST_KEY = b'{"id":'


class AnswerWriter(Protocol):
    """Takes answers as they come."""

    def write(self, answer: Mapping[str, Any]) -> None:
        """Put down one answer, for good."""


class StdoutAnswers:
    """Answers on stdout, which nothing can be resumed from."""

    def write(self, answer: Mapping[str, Any]) -> None:
        """Print an answer on a line."""
        sys.stdout.write(_line(answer))
        sys.stdout.flush()


@dataclass(frozen=True, slots=True)
class Done:
    """What an answer says of itself."""

    line: int
    run: str
    prompt: str
    failed: bool


class AnswerFile:
    """The file, locked while it is open.

    Raises:
        OutputError: another process writes to it, or the disk refuses.
        FormatError: it holds something else than answers; nothing of it is changed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if path.exists() and not path.is_file():
            raise OutputError(f"{path} is not a plain file", hint="- writes to stdout")
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        self._open()
        try:
            self.done = self._recover()
        except BaseException:
            self.close()
            raise

    def write(self, answer: Mapping[str, Any]) -> None:
        """Append an answer to the file.

        Raises:
            OutputError: the disk refuses; the file is as before.
        """
        data = _line(answer).encode()
        size = os.fstat(self._file).st_size
        with disk_errors(self._path):
            try:
                while data:
                    data = data[os.write(self._file, data) :]
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._file, size)
                raise

    def drop_failed(self) -> None:
        """Remove answers that are errors, so that their prompts are asked again.

        Raises:
            OutputError: the disk refuses.
        """
        kept = [line for line in self._read().splitlines(keepends=True) if _done(1, line)[1].failed is False]
        atomic_write_bytes(self._path, b"".join(kept))
        self.close()
        self._open()  # the new file
        self.done = {key: done for key, done in self.done.items() if not done.failed}

    def close(self) -> None:
        """Close the file, and unlock it."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> None:
        with disk_errors(self._path):
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise OutputError(f"another process writes to {self._path}") from None

    def _recover(self) -> dict[Id, Done]:
        """What is answered; a line cut short at the end is removed, once all others are known to be answers."""
        data = self._read()
        *lines, rest = data.split(b"\n")
        done: dict[Id, Done] = {}
        for number, line in enumerate(lines, 1):
            try:
                key, found = _done(number, line)
            except (ValueError, KeyError, TypeError, RecursionError):
                raise self._foreign(number) from None
            done[key] = found
        if rest and not (rest.startswith(_FIRST_KEY) or _FIRST_KEY.startswith(rest)):
            raise self._foreign(len(lines) + 1)
        with disk_errors(self._path):
            os.ftruncate(self._file, len(data) - len(rest))
        return done

    def _foreign(self, line: int) -> FormatError:
        return FormatError(
            f"line {line} of {self._path} is not an answer of edgelm generate, and nothing was changed",
            hint="choose another --output",
        )

    def _read(self) -> bytes:
        with disk_errors(self._path):
            return self._path.read_bytes()


def _done(number: int, line: bytes) -> tuple[Id, Done]:
    said = json.loads(line)
    key: Id = said["id"]
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise ValueError("id")
    return key, Done(number, str(said["run"]), str(said["prompt"]), said["error"] is not None)


def _line(answer: Mapping[str, Any]) -> str:
    return json.dumps(answer, ensure_ascii=False) + "\n"
