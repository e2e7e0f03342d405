"""Makes the constraint of one reply: the grammar, for this model's tokenizer, after this prompt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from edgelm.runtime.constraints.constraint import Constraint, MakeConstraint
from edgelm.runtime.constraints.grammar import Grammar
from edgelm.runtime.constraints.matcher import Matching
from edgelm.runtime.constraints.thinking import AfterThinking
from edgelm.runtime.constraints.vocabulary import vocabulary_of
from edgelm.text.segments import opens_thinking


def constraint_maker(
    grammar: Grammar,
    tokenizer: Any,
    prompt: Sequence[int],
    stop_tokens: Iterable[int],
    *,
    may_think: bool,
) -> MakeConstraint:
    """What makes the constraint of a reply to `prompt`, once the number of the logits' columns is known.

    Args:
        grammar: what the answer must match.
        tokenizer: mlx-lm's TokenizerWrapper.
        prompt: its ids; one that ends by opening a thinking block leaves the block free.
        stop_tokens: ids that end the reply.
        may_think: whether the reply may open a thinking block by itself.

    Raises:
        UnsupportedError: a tokenizer that cannot be constrained.
    """
    vocabulary = vocabulary_of(tokenizer, stop_tokens)
    inside = opens_thinking(tokenizer, prompt)

    def make(columns: int) -> Constraint:
        answer = Matching(grammar, vocabulary, columns)
        if not (inside or (may_think and tokenizer.has_thinking)):
            return answer
        opens = tokenizer.think_start_tokens if may_think else ()
        return AfterThinking(
            answer, vocabulary, columns, opens=opens, closes=tokenizer.think_end_tokens, inside=inside
        )

    return make
