"""Rows of token ids of one length, drawn from a text with a seed. Plain lists: no MLX, no numpy."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from edgelm.errors import OptionError
from edgelm.units import count


def token_rows(tokenizer: Any, text: str, tokens: int, length: int, seed: int) -> list[list[int]]:
    """Return about `tokens` tokens of `text` in rows of `length`, the same ones on every machine.

    Args:
        tokenizer: transformers' or mlx_lm's: `encode(text, add_special_tokens=False)` gives ids.
        text: read once from its beginning to its end, then cut.
        tokens: how many to draw, rounded down to whole rows, at least one row.
        length: tokens in a row. Where the tokenizer has a beginning-of-sequence token and starts texts
            with it, every row starts with it too, as the model has seen in training.
        seed: chooses the rows and their order.

    Raises:
        OptionError: a setting out of range, or the text is too short.
    """
    first = leading_tokens(tokenizer)
    stream = tokenizer.encode(text, add_special_tokens=False)
    return sample_rows(stream, tokens, length, seed, first=first)


def sample_rows(
    stream: Sequence[int], tokens: int, length: int, seed: int, *, first: Sequence[int] = ()
) -> list[list[int]]:
    """Return the rows of `length` ids of which none overlap, drawn from `stream`; `first` stands before each.

    Raises:
        OptionError: a setting out of range, or the stream is too short.
    """
    step = length - len(first)
    if step < 1:
        raise OptionError(f"length is {length}, expected at least {count(len(first) + 1, 'token')}")
    wanted = tokens // length
    if wanted < 1:
        raise OptionError(f"tokens is {tokens}, expected at least one row of {length}")
    there = len(stream) // step
    if there < wanted:
        raise OptionError(
            f"the text has {count(len(stream), 'token')}, expected at least {wanted * step:,}"
            f" for {count(wanted, 'row')} of {length}",
            hint="give more text, or ask for fewer tokens",
        )
    picked = random.Random(seed).sample(range(there), wanted)
    return [[*first, *stream[index * step : (index + 1) * step]] for index in picked]


def leading_tokens(tokenizer: Any) -> list[int]:
    """Return what the tokenizer puts before a text by itself: `[bos]`, or nothing."""
    bare = tokenizer.encode("a", add_special_tokens=False)
    with_special = tokenizer.encode("a")
    at = next(
        (i for i in range(len(with_special)) if with_special[i : i + len(bare)] == bare), 0
    )  # what stands after the text, an end-of-sequence token, does not belong between rows
    return list(with_special[:at])
