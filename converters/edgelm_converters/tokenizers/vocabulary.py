"""A vocabulary: what each token id spells, what type of token it is and, for sentencepiece, its score.

The types are sentencepiece's own (sentencepiece_model.proto), which GGUF took over number for number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelm.errors import FormatError
from edgelm_converters.tokenizers.metadata import shorten

if TYPE_CHECKING:
    from tokenizers import AddedToken

MAX_PIECE_LENGTH = 1024
"""Characters of a piece whose merges are derived, which costs the square of its length. Real ones stay under 130."""


class TokenType(IntEnum):
    """What a token is for. UNDEFINED occurs in GGUF only."""

    UNDEFINED = 0
    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


LEARNED = frozenset({TokenType.UNDEFINED, TokenType.NORMAL})
"""Reached by merging, never by matching the text whole."""


@dataclass(frozen=True)
class TokenVocabulary:
    """Tokens by id. The sequences have the same length; `scores` is None where merges are given.

    Raises:
        FormatError: no tokens, one that occurs twice, or lengths that differ.
    """

    tokens: tuple[str, ...]
    types: tuple[TokenType, ...]
    scores: tuple[float, ...] | None
    origin: Path

    def __post_init__(self) -> None:
        if not self.tokens:
            raise FormatError(f"the vocabulary has no tokens: {self.origin}")
        for name, values in (("token types", self.types), ("scores", self.scores)):
            if values is not None and len(values) != len(self.tokens):
                raise FormatError(
                    f"the vocabulary has {len(values)} {name}, expected one for each of its"
                    f" {len(self.tokens)} tokens: {self.origin}"
                )
        self._check_distinct()

    def _check_distinct(self) -> None:
        first: dict[str, int] = {}
        for index, token in enumerate(self.tokens):
            if first.setdefault(token, index) != index:
                raise FormatError(
                    f"token {shorten(token)} has ids {first[token]} and {index}, expected one: {self.origin}"
                )

    @property
    def ids(self) -> dict[str, int]:
        """Token to id."""
        return {token: index for index, token in enumerate(self.tokens)}

    def of_type(self, kinds: Iterable[TokenType]) -> dict[str, int]:
        """Map token to id, of these types only, in the order of ids."""
        wanted = frozenset(kinds)
        return {
            token: i
            for i, (token, kind) in enumerate(zip(self.tokens, self.types, strict=True))
            if kind in wanted
        }

    def learned_scores(self) -> Mapping[str, float]:
        """Score of each piece that merging may reach.

        Raises:
            FormatError: a piece so long that deriving its merges would not end.
        """
        assert self.scores is not None
        pieces = self.of_type(LEARNED)
        for piece, index in pieces.items():
            if len(piece) > MAX_PIECE_LENGTH:
                raise FormatError(
                    f"token {index} has {len(piece)} characters, expected at most {MAX_PIECE_LENGTH}:"
                    f" {self.origin}"
                )
        return {piece: self.scores[index] for piece, index in pieces.items()}

    def added_tokens(self, *, normalized_user: bool = False, strip_right: bool = False) -> list[AddedToken]:
        """List the tokens that are matched whole in text: control and unknown (special), user-defined (not).

        Args:
            normalized_user: match user-defined tokens in the normalized text rather than the raw text.
            strip_right: they swallow the white space that follows (Phi-3).
        """
        from tokenizers import AddedToken

        found = []
        for token, kind in zip(self.tokens, self.types, strict=True):
            if kind not in (TokenType.CONTROL, TokenType.UNKNOWN, TokenType.USER_DEFINED):
                continue
            user = kind == TokenType.USER_DEFINED
            flags: dict[str, Any] = {"special": not user, "normalized": user and normalized_user}
            found.append(AddedToken(token, rstrip=strip_right and token not in KEEP_RIGHT, **flags))
        return found


KEEP_RIGHT = frozenset({"<unk>", "<s>", "<|endoftext|>"})
"""Phi-3's exceptions, as its published tokenizer.json has them and llama.cpp repeats (llama-vocab.cpp)."""
