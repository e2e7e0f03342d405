"""A tokenizer as llguidance sees it: the bytes of every token, the stop tokens as the end of a reply.

Made once for a tokenizer (about half a second for 49,000 tokens) and kept as long as it lives. Byte-level BPE
and sentencepiece with byte fallback are understood; a tokenizer that is not is refused, never guessed.
"""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgelm.errors import UnsupportedError

if TYPE_CHECKING:
    from llguidance import LLTokenizer

_SAMPLE = 'a {"é": [1, -2.5e3, null],\n\t"東京": "\U0001f389"} z'
# What Metaspace decoders do to a token in the middle of a text, in the words that llguidance knows.
_SPACES = [
    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
    {"type": "ByteFallback"},
    {"type": "Fuse"},
]


@dataclass(frozen=True)
class Vocabulary:
    """The tokens that a constraint chooses from."""

    tokens: LLTokenizer
    stop_tokens: frozenset[int]
    newlines: frozenset[int]
    """Tokens that are nothing but newlines."""

    @property
    def size(self) -> int:
        """Tokens of the tokenizer; the network's logits may have fewer columns or more."""
        return int(self.tokens.vocab_size)


_made: weakref.WeakKeyDictionary[Any, dict[frozenset[int], Vocabulary]] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def vocabulary_of(tokenizer: Any, stop_tokens: Iterable[int]) -> Vocabulary:
    """Return the vocabulary of `tokenizer`, made at the first call.

    Args:
        tokenizer: mlx-lm's TokenizerWrapper.
        stop_tokens: ids that end a reply.

    Raises:
        UnsupportedError: a tokenizer whose tokens' bytes are not known, or a model without a stop token.
    """
    stops = frozenset(stop_tokens)
    with _lock:
        made = _made.setdefault(tokenizer, {})
        if stops not in made:
            made[stops] = _make(tokenizer, stops)
        return made[stops]


def _make(tokenizer: Any, stops: frozenset[int]) -> Vocabulary:
    from llguidance import LLTokenizer

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise _not_understood(tokenizer, "it is not a fast tokenizer")
    if not stops:
        raise UnsupportedError("the model has no stop token, so a constrained reply could not end")
    try:
        tokens = LLTokenizer(_description(backend), eos_token=sorted(stops))
    except ValueError as error:
        raise _not_understood(tokenizer, str(error)) from error
    _check(tokenizer, tokens)
    newlines = (tokenizer.encode("\n" * count, add_special_tokens=False) for count in (1, 2, 3))
    return Vocabulary(
        tokens,
        stops,
        frozenset(ids[-1] for ids in newlines if not tokens.decode_bytes(ids[-1:]).strip(b"\n")),
    )


def _description(backend: Any) -> str:
    """tokenizer.json, with the decoder in llguidance's terms."""
    described = json.loads(backend.to_str())
    described["padding"] = described["truncation"] = None
    if (described.get("decoder") or {}).get("type") == "Metaspace":
        described["decoder"] = {"type": "Sequence", "decoders": _SPACES}
    return json.dumps(described)


def _check(tokenizer: Any, tokens: LLTokenizer) -> None:
    """Refuse a tokenizer that decodes by rules of its own."""
    ids = tokenizer.encode(_SAMPLE, add_special_tokens=False)
    ours, theirs = tokens.decode_str(ids), tokenizer.decode(ids)
    if ours.strip() != theirs.strip():
        raise _not_understood(tokenizer, f"it decodes {ours!r} as {theirs!r}")
    for character in map(chr, range(32, 127)):
        if (
            tokens.decode_str(tokenizer.encode(character, add_special_tokens=False)).strip()
            != character.strip()
        ):
            raise _not_understood(tokenizer, f"it has no token for {character!r}")


def _not_understood(tokenizer: Any, reason: str) -> UnsupportedError:
    kind = type(getattr(tokenizer, "_tokenizer", tokenizer)).__name__
    return UnsupportedError(
        f"the model's tokenizer ({kind}) cannot be constrained: {reason}",
        hint="generate without schema, regex and grammar",
    )
