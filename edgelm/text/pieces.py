"""The text of single tokens, for log-probabilities: what a token adds behind other text, special tokens spelled out.

A token that is part of a character shows U+FFFD, so that pieces join to the text except where a character has several tokens.
"""

from __future__ import annotations

from typing import Any


class Pieces:
    """Spells the tokens of one tokenizer, each once."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        # A decoder may drop the space of a first token: every token is decoded behind another one.
        self._before = list(tokenizer.encode("a", add_special_tokens=False))[-1:]
        self._head = self._decode(self._before)
        self._known: dict[int, str] = {}

    def of(self, token: int) -> str:
        """Return the text that `token` adds behind other text."""
        if token not in self._known:
            whole = self._decode([*self._before, token])
            is_behind = whole.startswith(self._head)
            self._known[token] = whole[len(self._head) :] if is_behind else self._decode([token])
        return self._known[token]

    def _decode(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(
            tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text
