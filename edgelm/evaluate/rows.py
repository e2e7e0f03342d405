"""What models are measured on: rows of token ids, each with where scoring begins and what it was taken from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from edgelm import corpus
from edgelm.corpus.rows import leading_tokens, sample_rows
from edgelm.errors import FormatError, OptionError
from edgelm.options import Options, option


@dataclass(frozen=True)
class Measuring(Options):
    """How much text is measured, in rows of what length."""

    tokens: int = option(8192, "tokens of text to measure on, 0 for all of it", ge=0)
    length: int = option(256, "tokens of a row, its context at most", ge=8)
    seed: int = option(0, "which rows of the shipped text")


@dataclass(frozen=True, slots=True)
class Row:
    """Ids of one row. The tokens at `scored_from` and after are predicted, from all that precede them."""

    ids: tuple[int, ...]
    domain: str = "text"
    scored_from: int = 1

    @property
    def predicted(self) -> int:
        """How many tokens of this row count."""
        return len(self.ids) - self.scored_from


def held_out_rows(tokenizer: Any, measuring: Measuring) -> list[Row]:
    """Return the rows of the shipped held-out text, as many of each domain as there are, drawn with the seed.

    A row of the text holds no two languages more than the text itself does. With `tokens` 0, all of it.

    Raises:
        OptionError: `tokens` is less than one row, or more than there is.
    """
    first = leading_tokens(tokenizer)
    streams = {
        domain: tokenizer.encode(text, add_special_tokens=False) for domain, text in corpus.held_out().items()
    }
    step = measuring.length - len(first)
    there = {domain: len(stream) // step for domain, stream in streams.items()}
    wanted = measuring.tokens // measuring.length if measuring.tokens else sum(there.values())
    if not 1 <= wanted <= sum(there.values()):
        raise OptionError(
            f"tokens is {measuring.tokens:,}, expected {measuring.length} to"
            f" {sum(there.values()) * measuring.length:,} in rows of {measuring.length}",
            hint="--tokens 0 measures on all of the shipped text",
        )
    return [
        Row(tuple(ids), domain)
        for domain, count in _shares(there, wanted).items()
        if count
        for ids in sample_rows(
            streams[domain], count * measuring.length, measuring.length, measuring.seed, first=first
        )
    ]


def _shares(there: dict[str, int], wanted: int) -> dict[str, int]:
    """How many rows of each domain: one more of each in turn, while it has any."""
    shares = dict.fromkeys(there, 0)
    while sum(shares.values()) < wanted:
        for domain in there:
            if shares[domain] < there[domain] and sum(shares.values()) < wanted:
                shares[domain] += 1
    return shares


def text_rows(tokenizer: Any, texts: Iterable[tuple[str, str]], measuring: Measuring) -> list[Row]:
    """Return the rows that go through (name, text) pairs in order and predict every token once, up to `tokens`.

    A row repeats the last half of the one before as context, so that no token is predicted from less than
    half a row, beginnings of texts apart.

    Raises:
        FormatError: there is no text to predict.
    """
    first = leading_tokens(tokenizer)
    left = measuring.tokens or None
    rows: list[Row] = []
    for name, text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False)[:left]
        rows += _sliding(ids, first, measuring.length, name)
        left = None if left is None else left - len(ids)
        if left == 0:
            break
    if not rows:
        raise FormatError("the text has no tokens to predict, expected at least two")
    return rows


def _sliding(ids: Sequence[int], first: Sequence[int], length: int, name: str) -> list[Row]:
    width = length - len(first)
    step = max(1, width // 2)
    rows: list[Row] = []
    done = 0 if first else 1  # without a leading token nothing predicts the first one
    start = 0
    while done < len(ids):
        end = min(start + width, len(ids))
        rows.append(Row((*first, *ids[start:end]), name, len(first) + done - start))
        done, start = end, start + (step if end < len(ids) else width)
    return rows
