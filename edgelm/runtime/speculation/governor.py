"""How many tokens to guess at once: as many as pay on this machine, with this text; none where none do.

Two things are measured while tokens are made: how often guesses of each grade stand, and what a step that checks so
many tokens costs beside a plain one. With a chance p for each guess, k guesses give (1 - p^(k+1)) / (1 - p) tokens a step
(arXiv:2211.17192, eq. 1); the k with the most tokens per second is taken. Guesses that are not used are scored all the
same, so what has stopped paying is known without paying. Knows nothing about models.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Mapping

from edgelm.runtime.speculation.draft import Grade

LENGTHS = (1, 2, 3, 4, 6, 8, 12, 16)
"""Few, so that each is soon measured."""
MOST = LENGTHS[-1]

_MARGIN = 1.03  # a gain that is smaller is lost again in what is not measured
_MEMORY = 12.0  # guesses after which an old one weighs 1/e
_SAMPLES = 9  # durations that a median is taken of
_FIRST_PRICE = 0.03  # of one more token in a step, as a part of the step, until it is measured
_CARRIED = 0.75  # of a chance, from one request to the next
_ASK_AGAIN = 64  # declined guesses, likely ones, after which a price is asked again


class Governor:
    """Remembers costs for as long as the model is loaded, and chances for one request after another."""

    def __init__(self) -> None:
        self._chances: dict[Grade, float] = {}
        self._seconds: dict[int, deque[float]] = {}
        self._drafting_s: dict[str, deque[float]] = {}
        self._declined = 0

    def best_length(self, grade: Grade, limit: int) -> int:
        """Return how many guesses of this grade to check at once; 0 for none."""
        plain_s = self._median(self._seconds.get(1))
        if plain_s is None or limit < 1:
            return 0  # nothing to compare with yet
        chance = self.chance(grade)
        rates = {
            k: expected_tokens(chance, k) / self._price(grade, k, plain_s) for k in LENGTHS if k <= limit
        }
        best = max(rates, key=lambda length: rates[length])
        if rates[best] * plain_s > _MARGIN:
            return best
        return self._ask_again(chance, limit)

    def chance(self, grade: Grade) -> float:
        """Return that one guess of this grade stands."""
        return self._chances.get(grade, _first_chance(grade))

    def score(self, grade: Grade, stood: int, fell: int) -> None:
        """Note that so many guesses stood, and so many (0 or 1) fell after them."""
        chance = self.chance(grade)
        for outcome in [1.0] * stood + [0.0] * fell:
            chance += (outcome - chance) / _MEMORY
        self._chances[grade] = chance

    def time_step(self, width: int, elapsed_s: float) -> None:
        """Note how long a step took that computed `width` tokens."""
        if width in self._seconds:
            self._seconds[width].append(elapsed_s)
        else:  # the first has kernels to build
            self._seconds[width] = deque(maxlen=_SAMPLES)

    def time_drafting(self, drafter: str, tokens: int, elapsed_s: float) -> None:
        """Guessing so many tokens took so long."""
        self._drafting_s.setdefault(drafter, deque(maxlen=_SAMPLES)).append(elapsed_s / tokens)

    def begin(self) -> None:
        """Begin another request: what was learnt of the last text fades."""
        self._chances = {
            grade: _CARRIED * chance + (1 - _CARRIED) * _first_chance(grade)
            for grade, chance in self._chances.items()
        }

    def prices(self) -> Mapping[int, float]:
        """Return the measured cost of a step by its width, in plain steps."""
        plain_s = self._median(self._seconds.get(1))
        found = {width: self._median(samples) for width, samples in self._seconds.items()}
        return {width: cost / plain_s for width, cost in found.items() if cost and plain_s}

    def _price(self, grade: Grade, length: int, plain_s: float) -> float:
        """Seconds of a step that checks `length` guesses, guessing included."""
        drafting_s = self._median(self._drafting_s.get(grade.drafter)) or 0.0
        return self._step_s(1 + length, plain_s) + length * drafting_s

    def _step_s(self, width: int, plain_s: float) -> float:
        """Measured, or on a line through the nearest measured widths."""
        known = {
            w: cost for w, samples in self._seconds.items() if (cost := self._median(samples)) is not None
        }
        if width in known:
            return known[width]
        below = max(w for w in known if w < width)
        above = min((w for w in known if w > width), default=None)
        if above is None:
            return known[below] + (width - below) * _FIRST_PRICE * plain_s
        part = (width - below) / (above - below)
        return known[below] + part * (known[above] - known[below])

    def _ask_again(self, chance: float, limit: int) -> int:
        """Seldom, try what seemed too dear: a price may have been measured in a bad moment."""
        self._declined += chance > 0.6
        if self._declined < _ASK_AGAIN:
            return 0
        self._declined = 0
        return min(4, limit)

    @staticmethod
    def _median(samples: deque[float] | None) -> float | None:
        return statistics.median(samples) if samples else None


def expected_tokens(chance: float, length: int) -> float:
    """Return the mean number of tokens of a step with `length` guesses, each standing with `chance` if those before it do."""
    if chance >= 1:
        return length + 1.0
    return float((1 - chance ** (length + 1)) / (1 - chance))


def _first_chance(grade: Grade) -> float:
    """Before anything was seen. Low for lookup: what is worth more shows without being paid for."""
    if grade.drafter == "lookup":
        return 1 - 0.86**grade.strength
    return 0.9 if grade.drafter == "grammar" else 0.7  # a grammar's text may only be spelt otherwise
