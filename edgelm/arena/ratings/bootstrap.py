"""How far strengths would move with other prompts: prompts are drawn again whole, since votes on one are not independent."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from edgelm.arena.ratings.bradley_terry import Design, covariance, fit

ROUNDS = 1000
_AT_ONCE = 250
"""Weightings that are fitted together: bounds the memory of many votes."""


@dataclass(frozen=True, slots=True, eq=False)
class FittedStrengths:
    """Parameters and how they vary.

    Attributes:
        theta: (parameters,), as fitted to all votes, in nats.
        drawn: (rounds, parameters), as fitted to prompts that were drawn again.
        covariance: (parameters, parameters), of the likelihood's curvature.
        prompts: how many prompts there are.
    """

    theta: NDArray[np.float64]
    drawn: NDArray[np.float64]
    covariance: NDArray[np.float64]
    prompts: int

    def interval(
        self, contrast: NDArray[np.float64], confidence: float, *, one_sided: bool = False
    ) -> tuple[float, float, float]:
        """Return value, low and high of `contrast` @ theta.

        The value and the normal quantile of the bootstrap's deviation, corrected for drawing from the sample itself (m/(m-1)).
        Percentiles of the draws cover 91 % instead of 95 % at 20 to 60 votes: they are shifted where the estimate is. Votes
        that all went one way (`one_sided`) are the same whatever is drawn; there the curvature says how little is known.
        """
        value = float(self.theta @ contrast)
        if self.prompts < 2:
            return value, -np.inf, np.inf
        deviation = float(np.std(self.drawn @ contrast, ddof=1)) * np.sqrt(self.prompts / (self.prompts - 1))
        if one_sided:
            deviation = max(deviation, float(np.sqrt(contrast @ self.covariance @ contrast)))
        reach = NormalDist().inv_cdf((1 + confidence) / 2) * deviation
        return value, value - reach, value + reach


def bootstrapped(design: Design, seed: int, rounds: int = ROUNDS) -> FittedStrengths:
    """Fit `design` to all votes and to `rounds` samples of its prompts, seeded."""
    prompts = int(design.prompt.max()) + 1
    rng = np.random.default_rng(seed)
    times = rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=rounds)
    drawn = [
        fit(design, times[at : at + _AT_ONCE][:, design.prompt].astype(float))
        for at in range(0, rounds, _AT_ONCE)
    ]
    theta = fit(design)[0]
    return FittedStrengths(theta, np.concatenate(drawn), covariance(design, theta), prompts)
