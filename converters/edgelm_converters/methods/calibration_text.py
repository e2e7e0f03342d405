"""Calibration text as rows of token ids: the text that ships with edgelm, or the user's own.

A user's file is plain text, or JSON lines of chats (`{"messages": [{"role": …, "content": …}, …]}`), which are
rendered with the model's own template; a directory is all of its .txt, .md and .jsonl files. Works offline.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm import corpus
from edgelm.errors import FormatError, NotFoundError, OptionError, PromptError
from edgelm.messages.reader import read_messages
from edgelm.messages.values import MessageError
from edgelm.paths import visible_files
from edgelm.text.prompt import encode_chat
from edgelm.units import count

ROW_TOKENS = 512
SUFFIXES = (".txt", ".md", ".jsonl")
SHIPPED = "shipped"
MIN_TOKENS = 2048
"""Below this a calibration says more about the text than about the model."""


@dataclass(frozen=True)
class CalibrationText:
    """Rows of ids, and what the manifest says about them."""

    rows: list[list[int]]
    source: str
    """"shipped", or the file or directory."""
    seed: int
    sha256: str
    """The hash of the ids, so that a run that goes on knows whether it goes on with the same."""

    @property
    def tokens(self) -> int:
        """Tokens of all rows together."""
        return sum(len(row) for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        """Return plain values for the manifest."""
        return {"source": self.source, "tokens": self.tokens, "seed": self.seed, "sha256": self.sha256}


def calibration_rows(
    tokenizer: Any, path: Path | None, *, tokens: int, seed: int, vocab_size: int, context_length: int | None
) -> CalibrationText:
    """About `tokens` tokens in rows of at most 512.

    Args:
        path: a file or directory; None takes the shipped text.
        vocab_size: rows with ids beyond it are refused: the tokenizer does not belong to the model.

    Raises:
        NotFoundError: no such file, or a directory without text.
        FormatError: a file that is no text, or a line that is no chat.
        OptionError: too little text.
    """
    length = min(ROW_TOKENS, context_length or ROW_TOKENS)
    if path is None:
        rows = corpus.token_rows(tokenizer, corpus.calibration_text(), tokens, length, seed)
    else:
        first = corpus.leading_tokens(tokenizer)
        stream = [id_ for file in _files(path) for id_ in _ids(tokenizer, file)]
        rows = _own_rows(stream, path, tokens, length, seed, first)
    highest = max(max(row) for row in rows)
    if highest >= vocab_size:
        raise FormatError(
            f"the tokenizer gives id {highest}, and the model has {count(vocab_size, 'token')}: they do not belong together"
        )
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    return CalibrationText(rows, SHIPPED if path is None else str(path), seed, digest)


def _own_rows(
    stream: Sequence[int], path: Path, tokens: int, length: int, seed: int, first: Sequence[int]
) -> list[list[int]]:
    """Draw as many rows as the user's text gives, up to `tokens`."""
    step = length - len(first)
    have = len(stream) // step * length
    if have < min(MIN_TOKENS, tokens):
        raise OptionError(
            f"{path} has {count(len(stream), 'token')}, expected at least {MIN_TOKENS:,} to calibrate on",
            hint="give more text, or leave --calibration out to use the text that ships with edgelm",
        )
    return corpus.sample_rows(stream, min(tokens, have), length, seed, first=first)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise NotFoundError(f"calibration text {path} does not exist")
    files = [file for file in visible_files(path) if file.suffix.lower() in SUFFIXES]
    if not files:
        raise NotFoundError(f"{path} holds no {', '.join(SUFFIXES)} file to calibrate on")
    return files


def _ids(tokenizer: Any, file: Path) -> list[int]:
    text = _read(file)
    if file.suffix.lower() == ".jsonl":
        return [id_ for chat in _chats(text, file) for id_ in _rendered(tokenizer, chat, file)]
    return list(tokenizer.encode(text, add_special_tokens=False))


def _read(file: Path) -> str:
    try:
        text = file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(
            f"{file} is not text: byte {error.start} is no UTF-8",
            hint="give plain text or JSON lines of chats",
        ) from error
    except OSError as error:
        raise NotFoundError(f"cannot read {file}: {error.strerror or error}") from error
    if "\0" in text:
        raise FormatError(f"{file} is not text: it holds zero bytes")
    if not text.strip():
        raise FormatError(f"{file} is empty, expected text to calibrate on")
    return text


def _chats(text: str, file: Path) -> list[tuple[int, list[dict[str, Any]]]]:
    """Line number and messages of every line."""
    chats = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            messages = json.loads(line)["messages"]
        except (ValueError, TypeError, KeyError) as error:
            raise FormatError(f'{file} line {number} is no chat, expected {{"messages": [...]}}') from error
        try:
            chats.append((number, read_messages(messages)))
        except MessageError as error:
            raise FormatError(f"{file} line {number} is no chat: {error.message}") from error
    return chats


def _rendered(tokenizer: Any, chat: tuple[int, list[dict[str, Any]]], file: Path) -> list[int]:
    try:
        return encode_chat(tokenizer, chat[1])
    except PromptError as error:
        raise FormatError(f"{file} line {chat[0]}: {error.message}", hint=error.hint) from error
