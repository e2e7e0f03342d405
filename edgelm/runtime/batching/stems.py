"""What prompts begin with in common (a system prompt, few-shot examples), computed once for all of them.

A few such stems are kept while a batch runs, so that several families of prompts may alternate.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx

from edgelm.pricing.chunks import Chunks
from edgelm.runtime.batching.lanes import CHUNKS
from edgelm.runtime.cache.pool import common_prefix
from edgelm.runtime.runner import Layers, ModelRunner
from edgelm.zoo.caches.leaves import MakeLayers

_WORTH_TOKENS = 32
"""Saved over all prompts: less costs more to copy than to compute."""

_KEPT = 4
"""Stems; each takes as much as one more sequence of its length."""


@dataclass(frozen=True, slots=True)
class Stem:
    """Tokens and the caches after them; the empty one has neither."""

    tokens: list[int] = field(default_factory=list)
    layers: Layers = field(default_factory=list)

    def serves(self, prompt: list[int]) -> bool:
        """Whether the prompt begins with all of it and has at least one token more."""
        return len(prompt) > len(self.tokens) and prompt[: len(self.tokens)] == self.tokens


class Stems:
    """The stems of one batch."""

    def __init__(self, network: Any, make_layers: MakeLayers, chunks: Chunks = CHUNKS) -> None:
        self._runner = ModelRunner(network)
        self._make_layers = make_layers
        self._chunks = chunks
        self._stems: list[Stem] = []

    def of(self, prompt: list[int]) -> Stem:
        """The longest that serves `prompt`; its caches must not be written to."""
        serving = [stem for stem in self._stems if stem.serves(prompt)]
        return max(serving, key=lambda stem: len(stem.tokens), default=Stem())

    def look_for(
        self, prompt: list[int], others: Sequence[list[int]], is_cancelled: Callable[[], bool]
    ) -> None:
        """Compute what `prompt` shares with others beyond the stem that it has, if that is worth it."""
        known = self.of(prompt)
        tokens = shared_stem(prompt, others, known=len(known.tokens))
        if not tokens:
            return
        layers = copy.deepcopy(known.layers) or self._make_layers()
        rest = tokens[len(known.tokens) :]
        if self._runner.prefill(mx.array([rest]), layers, self._chunks, is_cancelled):
            self._stems = [*self._stems[1 - _KEPT :], Stem(tokens, layers)]

    def clear(self) -> None:
        """Forget them."""
        self._stems.clear()


def shared_stem(prompt: Sequence[int], others: Sequence[Sequence[int]], *, known: int = 0) -> list[int]:
    """The beginning of `prompt` that saves most tokens if it is computed once; empty if none is worth it.

    It leaves at least one token of each prompt that begins with it.

    Args:
        known: tokens of the beginning that need no computing.
    """
    most = len(prompt) - 1
    shared = sorted(
        (min(common_prefix(prompt, other), len(other) - 1, most) for other in others), reverse=True
    )
    gains = [((length - known) * count, length) for count, length in enumerate(shared, 1)]
    saved, length = max(gains, default=(0, 0))
    return list(prompt[:length]) if saved >= _WORTH_TOKENS else []
