"""Prompt lookup: the next tokens are guessed from where the last ones stood before, in the prompt or the answer.

No second model, and nearly free: an index from every pair of tokens to the places after it. Of the places whose
context agrees longest with the present one, the latest is followed. After "Prompt Lookup Decoding"
(github.com/apoorvumang/prompt-lookup-decoding). Knows nothing about models.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgelm.runtime.speculation.draft import Draft, Grade

_PLACES = 8  # looked at, the latest first: more cost time and seldom agree longer
LONGEST = 12
"""Longer agreement is not told apart."""


class PromptLookup:
    """An index over one growing sequence."""

    def __init__(self, prompt: Sequence[int] = ()) -> None:
        self._tokens: list[int] = []
        self._places: dict[tuple[int, int], list[int]] = {}
        self.observe(prompt)

    def observe(self, tokens: Sequence[int]) -> None:
        """Note that the sequence goes on with `tokens`."""
        known = self._tokens
        for token in tokens:
            known.append(token)
            if len(known) > 1:
                self._places.setdefault((known[-2], token), []).append(len(known))

    def propose(self, limit: int) -> Draft | None:
        """Return at most `limit` tokens that may come next; None where the last two never stood before."""
        known = self._tokens
        if len(known) < 2 or limit < 1:
            return None
        # The last place is the present end, after which nothing stands.
        places = self._places[known[-2], known[-1]][-_PLACES - 1 : -1]
        if not places:
            return None
        agreement, place = max((self._agreement(place), place) for place in places)
        return Draft(tuple(known[place : place + limit]), Grade("lookup", agreement))

    def _agreement(self, place: int) -> int:
        """How many tokens before `place` are those at the end; the pair that led there is two of them."""
        known, end = self._tokens, len(self._tokens)
        length = 2
        while length < min(LONGEST, place) and known[place - 1 - length] == known[end - 1 - length]:
            length += 1
        return length
