"""Speculation in one request: which guess to check next, if any, and what is learnt from it.

Guesses come from the text itself (`lookup.py`) and, where one is loaded, from a smaller model (`draft_model.py`);
the governor says which pays. Knows nothing about the large model.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from edgelm.runtime.sampling.sampler import Sampler
from edgelm.runtime.speculation.draft import Draft, Grade
from edgelm.runtime.speculation.draft_model import DraftModel
from edgelm.runtime.speculation.governor import MOST, Governor
from edgelm.runtime.speculation.lookup import PromptLookup

_MODEL = Grade("model")
_GRAMMAR = Grade("grammar")


class Speculator:
    """Guesses of one request.

    Args:
        governor: the engine's, which knows what steps cost.
        prompt: the request's.
        draft_model: a smaller model that has begun with the same prompt.
        most: guesses to check at once, whatever pays.
    """

    def __init__(
        self,
        governor: Governor,
        prompt: Sequence[int],
        draft_model: DraftModel | None = None,
        *,
        most: int = MOST,
    ) -> None:
        self._most = most
        self._governor = governor
        self._lookup = PromptLookup(prompt)
        self._model = draft_model
        self._seen: Draft | None = None
        self.drafted = 0
        self.accepted = 0
        governor.begin()

    def observe(self, token: int) -> None:
        """Note the next token of the answer, which is known now; a guess at it that was not used is scored by it."""
        if self._seen is not None:
            hit = self._seen.tokens[0] == token
            self._governor.score(self._seen.grade, int(hit), int(not hit))
        self._lookup.observe([token])
        if self._model is not None:
            self._model.observe([token])
        self._seen = self._lookup.propose(1)

    def expects(self, limit: int) -> bool:
        """Return whether a guess will probably pay after the token that is under way: then it is waited for."""
        limit = min(limit, self._most)
        if limit < 1:
            return False
        if self._model is not None and self._governor.best_length(_MODEL, limit):
            return True
        return self._seen is not None and bool(self._governor.best_length(self._seen.grade, limit))

    def propose(self, limit: int, sampler: Sampler) -> Draft | None:
        """Return a guess that is worth checking, of at most `limit` tokens."""
        limit = min(limit, self._most)
        found = self._lookup.propose(limit)
        length = self._governor.best_length(found.grade, len(found.tokens)) if found else 0
        if self._model is not None and self._prefers_model(found, length):
            return self._ask_model(limit, sampler)
        if found is None or not length:
            return None
        self._seen = None  # scored by `judge`
        return Draft(found.tokens[:length], found.grade)

    def propose_forced(self, tokens: Sequence[int]) -> Draft | None:
        """Return the same, of tokens that a grammar leaves no choice about."""
        length = self._governor.best_length(_GRAMMAR, min(len(tokens), self._most))
        return Draft(tuple(tokens[:length]), _GRAMMAR) if length else None

    def judge(self, draft: Draft, checked: int, stood: int, elapsed_s: float) -> None:
        """Note that the first `checked` guesses were checked, that the first `stood` of them stood, and how long it took."""
        self.drafted += checked
        self.accepted += stood
        self._governor.score(draft.grade, stood, int(stood < len(draft.tokens)))
        self._governor.time_step(1 + checked, elapsed_s)

    def accept(self, tokens: Sequence[int]) -> None:
        """Note that these tokens, which `judge` has counted, are part of the answer."""
        self._lookup.observe(tokens)
        if self._model is not None:
            self._model.observe(tokens)
        self._seen = self._lookup.propose(1)

    def time_plain(self, elapsed_s: float) -> None:
        """Note how long a step without guesses took."""
        self._governor.time_step(1, elapsed_s)

    def _prefers_model(self, found: Draft | None, length: int) -> bool:
        return (
            found is None or not length or self._governor.chance(_MODEL) > self._governor.chance(found.grade)
        )

    def _ask_model(self, limit: int, sampler: Sampler) -> Draft | None:
        length = self._governor.best_length(_MODEL, limit)
        if self._model is None or not length:
            return None
        began = time.perf_counter()
        tokens = self._model.propose(length, sampler)
        if not tokens:
            return None
        self._governor.time_drafting(_MODEL.drafter, len(tokens), time.perf_counter() - began)
        self._seen = None
        return Draft(tuple(tokens), _MODEL)
