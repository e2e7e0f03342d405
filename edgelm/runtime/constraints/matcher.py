"""A grammar applied to one reply: the constraint that llguidance computes token masks for.

Shapes: V the network's vocabulary, n draft tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import mlx.core as mx

from edgelm.errors import EngineError, OptionError
from edgelm.runtime.constraints.compiler import compiler_errors
from edgelm.runtime.constraints.grammar import Grammar
from edgelm.runtime.constraints.vocabulary import Vocabulary

if TYPE_CHECKING:
    from llguidance import LLMatcher
    from numpy import bool_
    from numpy.typing import NDArray

    Mask = NDArray[bool_]


class Matching:
    """Holds a reply to a grammar, token by token. A `Constraint`.

    Args:
        grammar: the language.
        vocabulary: the tokenizer's tokens.
        columns: V.

    Raises:
        OptionError: nothing matches the grammar, or it is too large.
    """

    def __init__(self, grammar: Grammar, vocabulary: Vocabulary, columns: int) -> None:
        from llguidance import LLMatcher
        from numpy import uint32, zeros

        self._vocabulary = vocabulary
        self._columns = columns
        with compiler_errors():
            self._matcher: LLMatcher = LLMatcher(vocabulary.tokens, grammar.compiled, log_level=0)
        self._words: Any = zeros((1, (vocabulary.size + 31) // 32), dtype=uint32)  # [rows, V / 32] bits
        self._ended = False
        self._refuse_unusable(grammar)

    def allowed(self, drafts: Sequence[int] = ()) -> mx.array:
        """bool [1 + n, V]: row i says what may follow the first i of `drafts`."""
        return mx.array(self.mask(drafts))

    def mask(self, drafts: Sequence[int] = ()) -> Mask:
        """Return the same in NumPy: what is read back or put together is so without waiting for the device."""
        admissible = self._admissible(drafts)
        self._reserve(1 + len(admissible))
        self._fill(0)
        for row, token in enumerate(admissible, start=1):
            self._matcher.consume_token(token)
            self._fill(row)
        if admissible:
            self._matcher.rollback(len(admissible))
        return self._bits(1 + len(admissible))

    def accept(self, token: int) -> None:
        """Take note of a token that was sampled.

        Raises:
            EngineError: it is not one that was allowed, or the grammar grew too complex.
        """
        if token in self._vocabulary.stop_tokens:
            if not self._matcher.is_accepting():
                raise EngineError("the reply ended before its grammar was complete")
            self._ended = True
        elif self._ended or not self._matcher.consume_token(token):
            raise EngineError(f"token {token} does not match the grammar: {self._first_error()}")

    def forced(self, limit: int) -> list[int]:
        """Return the tokens that can only come next, at most `limit`."""
        if self.is_over:
            return []
        tokens = self._matcher.compute_ff_tokens()[:limit]
        # A tokenizer that cannot spell what is forced answers with its unknown token.
        return list(tokens[: self._matcher.validate_tokens(tokens)])

    @property
    def is_over(self) -> bool:
        """Nothing more may come but a stop token."""
        return self._ended or bool(self._matcher.is_stopped())

    def _admissible(self, drafts: Sequence[int]) -> list[int]:
        """The drafts that fit, up to a stop token: nothing may follow one."""
        tokens = list(drafts)
        stop = next((i for i, token in enumerate(tokens) if token in self._vocabulary.stop_tokens), None)
        tokens = tokens[:stop]
        if not tokens or self.is_over:
            return []
        return tokens[: self._matcher.validate_tokens(tokens)]

    def _reserve(self, rows: int) -> None:
        from numpy import zeros

        if len(self._words) < rows:
            self._words = zeros((rows, self._words.shape[1]), dtype=self._words.dtype)

    def _fill(self, row: int) -> None:
        words = self._words[row]
        self._matcher.unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)
        if self._matcher.is_error():
            # The mask would then allow the end, and an unfinished reply would pass for a complete one.
            raise EngineError(f"the grammar cannot be followed any further: {self._first_error()}")

    def _bits(self, rows: int) -> Mask:
        """Expanded here and not on the device: 0.02 ms instead of 0.10 for V = 49,152 on a CPU."""
        from numpy import uint8, unpackbits, zeros

        known = min(self._columns, self._vocabulary.size)
        mask = zeros((rows, self._columns), dtype=bool)
        words = self._words[:rows].view(uint8)
        mask[:, :known] = unpackbits(words, axis=1, count=known, bitorder="little")
        return mask

    def _refuse_unusable(self, grammar: Grammar) -> None:
        self._matcher.compute_bitmask()  # finds what nothing can match
        if self._matcher.is_error():
            raise OptionError(f"the {grammar.kind} cannot be used: {self._first_error()}")
        if grammar.kind == "schema" and self._matcher.is_stopped():
            raise OptionError("the schema has no value: it refers only to itself")

    def _first_error(self) -> str:
        return (self._matcher.get_error().splitlines() or ["it is complete"])[0]
