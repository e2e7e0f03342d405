"""Exact streaming: token ids in, pieces of text out, and the pieces join to `decode` of all the ids.

A piece is never taken back, so text that later tokens could change is held: an incomplete UTF-8
character, a run of byte tokens (the decoder judges the run as a whole), spaces that clean-up may drop.
Only a short window of tokens is decoded at each step, so the cost of a token does not grow with the text.
Knows nothing about models, channels or stop strings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_CONTEXT = 8  # tokens kept as context for the decoder: enough for every rule that looks at neighbours
_REPLACEMENT = "\ufffd"
# A tail that may become one of the patterns of `clean_up_tokenization` (" .", " ' ", " n't", " 've", ...).
_UNSETTLED = re.compile(r" (?:'[vr]?|n'?)?\Z")


@dataclass(frozen=True, slots=True)
class DecodeTraits:
    """What streaming has to know of a tokenizer; made once for a request."""

    ignored: frozenset[int]
    """Special tokens that `decode` leaves out: they do not even end a run of byte tokens."""
    byte_tokens: frozenset[int]
    """The tokens `<0x00>` to `<0xFF>` of byte fallback."""
    cleans_up: bool

    @classmethod
    def of(cls, tokenizer: Any, *, skip_special_tokens: bool = True) -> DecodeTraits:
        """Read the traits off a Hugging Face tokenizer or mlx-lm's wrapper of one."""
        added = tokenizer.added_tokens_decoder
        special = frozenset(token for token, entry in added.items() if entry.special)
        return cls(
            ignored=special if skip_special_tokens else frozenset(),
            byte_tokens=_byte_tokens(tokenizer),
            cleans_up=_cleans_up(tokenizer),
        )


class StreamDecoder:
    """Decodes one sequence of tokens, piece by piece.

    The pieces of `add` and the last one of `finish` join to exactly
    `tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)`.
    """

    def __init__(
        self, tokenizer: Any, *, skip_special_tokens: bool = True, traits: DecodeTraits | None = None
    ) -> None:
        self._tokenizer = tokenizer
        self._skip = skip_special_tokens
        self._traits = traits or DecodeTraits.of(tokenizer, skip_special_tokens=skip_special_tokens)
        self._cleaner = _Cleaner(tokenizer) if self._traits.cleans_up else None
        self._window: list[int] = []
        self._shown = ""  # the head of decode(window) that has been handed out
        self._next_cut = 2 * _CONTEXT

    def add(self, token: int) -> str:
        """Return the text that is certain now that `token` has come; often one word, sometimes none."""
        if token in self._traits.ignored:
            return ""
        self._window.append(token)
        if token in self._traits.byte_tokens:
            return ""
        text = self._decode(self._window)
        # Only the last replacement character can still become a real one (UTF-8's maximal subparts).
        certain = text[:-1] if text.endswith(_REPLACEMENT) else text
        piece = self._advance(certain)
        if len(self._window) >= self._next_cut:
            self._cut(text)
        return self._cleaner.add(piece) if self._cleaner else piece

    def finish(self) -> str:
        """Return the text that was held back. The decoder is spent."""
        text = self._decode(self._window)
        piece = text[len(self._shown) :]
        return self._cleaner.add(piece) + self._cleaner.finish() if self._cleaner else piece

    def _decode(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(
            tokens, skip_special_tokens=self._skip, clean_up_tokenization_spaces=False
        )
        return text

    def _advance(self, certain: str) -> str:
        if not certain.startswith(self._shown):
            return ""
        piece = certain[len(self._shown) :]
        self._shown = certain
        return piece

    def _cut(self, text: str) -> None:
        """Forget all but the last tokens of the window, where that cannot change what follows."""
        self._next_cut = len(self._window) + _CONTEXT
        at = len(self._window) - _CONTEXT
        bytes_ = self._traits.byte_tokens
        while at > 0 and self._window[at] in bytes_ and self._window[at - 1] in bytes_:
            at -= 1
        head, tail = self._decode(self._window[:at]), self._decode(self._window[at:])
        is_clean = not head.endswith(_REPLACEMENT) or head + tail == text
        if not (at > 0 and is_clean and len(tail) >= _CONTEXT // 2 and text.endswith(tail)):
            return
        forgotten = len(text) - len(tail)
        if forgotten > len(self._shown):
            return
        self._window = self._window[at:]
        self._shown = self._shown[forgotten:]
        self._next_cut = max(2 * _CONTEXT, len(self._window) + _CONTEXT)


class _Cleaner:
    """Streams `clean_up_tokenization`: cuts only where none of its patterns can span the cut."""

    def __init__(self, tokenizer: Any) -> None:
        self._clean = tokenizer.clean_up_tokenization
        self._held = ""

    def add(self, text: str) -> str:
        text = self._held + text
        cut = len(text)
        # Again and again: one replacement can complete the pattern of the next ("n ' t" to "n't").
        while unsettled := _UNSETTLED.search(text[:cut]):
            cut = unsettled.start()
        self._held = text[cut:]
        cleaned: str = self._clean(text[:cut])
        return cleaned

    def finish(self) -> str:
        cleaned: str = self._clean(self._held)
        return cleaned


def _byte_tokens(tokenizer: Any) -> frozenset[int]:
    unknown = tokenizer.unk_token_id
    ids = (tokenizer.convert_tokens_to_ids(f"<0x{byte:02X}>") for byte in range(256))
    return frozenset(token for token in ids if token is not None and token != unknown)


def _cleans_up(tokenizer: Any) -> bool:
    """Whether `decode` cleans up by itself; transformers 5 never does for BPE unless forced."""
    if not getattr(tokenizer, "clean_up_tokenization_spaces", False):
        return False
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or type(backend.model).__name__ != "BPE":
        return True
    forced = "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output"
    return bool(getattr(tokenizer, forced, False))
