"""The pair of which a vote tells most: where ratings are known least and the outcome is not known already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from edgelm.arena.ratings.bradley_terry import Design, covariance, fit
from edgelm.arena.ratings.votes import Vote, counted

Pair = tuple[str, str]

_WORLDS = 64
"""Strengths that are drawn from what is known, over which what a vote would tell is averaged."""
_WIDEST = 4


def informative_pairs(
    votes: Sequence[Vote], contestants: Sequence[str], open_pairs: Collection[Pair], seed: int
) -> list[Pair]:
    """Order pairs by how narrow a vote on each leaves the widest intervals.

    A vote of information w = p(1-p) on the contrast x takes w (Σx)(Σx)ᵀ / (1 + w xᵀΣx) from the covariance Σ of the strengths
    (Sherman and Morrison 1950), averaged over strengths drawn from N(θ, Σ), since p is hardly known in the beginning. Pairs are
    ordered by the 4th power of the variances that are left: nearly a maximum, which spares votes where intervals are narrow
    already, and not so near that one contestant takes all votes.

    Args:
        votes: so far; repeats and identical answers are passed over.
        open_pairs: those that have matches left.
        seed: of the draws and of the order of equals.

    Returns:
        `open_pairs`, the most telling first; where nothing is known, in seeded order.
    """
    names = tuple(contestants)
    rng = np.random.default_rng([seed, len(votes)])
    pairs: list[Pair] = list(combinations(names, 2))
    wanted = {frozenset(pair) for pair in open_pairs}
    pairs = [pair for pair in pairs if frozenset(pair) in wanted]
    order = rng.permutation(len(pairs))
    pairs = [pairs[at] for at in order]
    if len(pairs) < 2:
        return pairs
    gains = _gains(names, pairs, counted(votes), rng)
    return [pairs[at] for at in np.argsort(-gains, kind="stable")]


def _gains(
    names: tuple[str, ...], pairs: list[Pair], votes: list[Vote], rng: np.random.Generator
) -> NDArray[np.float64]:
    alike = Counter((vote.first, vote.second, vote.outcome) for vote in votes)
    design = Design.of([Vote(*each, prompt="") for each in alike], names)
    times = np.array(list(alike.values()), dtype=float)
    parameters = fit(design, times[None])[0]
    theta = parameters[: len(names)]
    spread = covariance(design, parameters, times)[: len(names), : len(names)]
    centred = np.eye(len(names)) - 1 / len(names)
    spread = centred @ spread @ centred
    worlds = rng.multivariate_normal(theta, spread, size=_WORLDS, method="eigh")
    contrasts = np.array(
        [[(name == one) - (name == other) for name in names] for one, other in pairs], dtype=float
    )
    chance = 1 / (1 + np.exp(-worlds @ contrasts.T))
    information = chance * (1 - chance)
    moved = contrasts @ spread
    along = np.sum(moved * contrasts, axis=1)
    known = np.diag(spread)
    taken = np.mean(information / (1 + information * along), axis=0)[:, None] * moved**2
    return -np.asarray(np.sum(((known - taken) / known.max()) ** _WIDEST, axis=1))
