"""Bradley-Terry strengths by penalised maximum likelihood, many weightings of the votes at once.

P(first is preferred) = σ(θ_first − θ_second + s + b·x): strengths θ in nats, the advantage s of standing first, covariates x.
A tie is half a win of each. The prior is normal about 0, with deviations of 3 nats for strengths (weaker than one even vote)
and of 1 for the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgelm.arena.ratings.votes import Vote

STRENGTH_DEVIATION = 3.0
OTHER_DEVIATION = 1.0
COVARIATES = ("length", "markdown")

_STEPS = 50
_TOLERANCE = 1e-8


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """Votes as arrays.

    Attributes:
        x: (votes, parameters): a strength each, the first place, then the covariates that were asked for, by their deviation.
        score: (votes,), what the first answer earned.
        prompt: (votes,), the number of the prompt.
        contestants: the names, in the order of the columns.
    """

    x: NDArray[np.float64]
    score: NDArray[np.float64]
    prompt: NDArray[np.int64]
    contestants: tuple[str, ...]

    @classmethod
    def of(cls, votes: Sequence[Vote], contestants: Sequence[str], covariates: Sequence[str] = ()) -> Design:
        """Lay out `votes`; a covariate is divided by its root mean square, so that its slope is for a usual difference."""
        column = {name: at for at, name in enumerate(contestants)}
        x = np.zeros((len(votes), len(contestants) + 1 + len(covariates)))
        rows = np.arange(len(votes))
        x[rows, [column[vote.first] for vote in votes]] = 1
        x[rows, [column[vote.second] for vote in votes]] = -1
        x[:, len(contestants)] = 1
        for at, name in enumerate(covariates, len(contestants) + 1):
            values = np.array([getattr(vote, name) for vote in votes], dtype=float)
            size = float(np.sqrt(np.mean(values**2))) if len(votes) else 0.0
            x[:, at] = values / size if size > 0 else 0.0
        _, prompt = np.unique([vote.prompt for vote in votes], return_inverse=True)
        return cls(x, np.array([vote.outcome.score for vote in votes]), prompt, tuple(contestants))

    @property
    def precision(self) -> NDArray[np.float64]:
        """(parameters,): the prior's inverse variances."""
        count = len(self.contestants)
        deviations = [STRENGTH_DEVIATION] * count + [OTHER_DEVIATION] * (self.x.shape[1] - count)
        return np.array(deviations) ** -2.0


def fit(design: Design, weights: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Return the likeliest parameters under each weighting of the votes, by Newton's method.

    Args:
        weights: (weightings, votes); None counts every vote once.

    Returns:
        (weightings, parameters), in nats; strengths of a weighting add up to 0.

    Raises:
        ArithmeticError: Newton's method did not converge, which the penalty excludes for finite covariates.
    """
    x, precision = design.x, design.precision
    votes, parameters = x.shape
    weights = np.ones((1, votes)) if weights is None else weights
    products = (x[:, :, None] * x[:, None, :]).reshape(votes, parameters**2)
    theta = np.zeros((len(weights), parameters))
    for _ in range(_STEPS):
        chance = _sigmoid(theta @ x.T)
        slope = (weights * (design.score - chance)) @ x - precision * theta
        curvature = ((weights * chance * (1 - chance)) @ products).reshape(-1, parameters, parameters)
        step = np.linalg.solve(curvature + np.diag(precision), slope[:, :, None])[:, :, 0]
        # A full step may overshoot where nearly every vote went one way; the likelihood is concave, so a bounded one arrives.
        theta += step * np.minimum(1.0, 2.0 / np.maximum(np.abs(step).max(axis=1, keepdims=True), 1e-300))
        if np.abs(step).max() < _TOLERANCE:
            return theta
    raise ArithmeticError(f"Newton's method did not converge in {_STEPS} steps")


def covariance(
    design: Design, theta: NDArray[np.float64], weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return (parameters, parameters): the inverse curvature of the penalised likelihood at `theta`, in nats squared.

    Args:
        weights: (votes,); None counts every vote once.
    """
    chance = _sigmoid(design.x @ theta)
    information = chance * (1 - chance) * (1.0 if weights is None else weights)
    curvature = design.x.T @ (design.x * information[:, None])
    return np.asarray(np.linalg.inv(curvature + np.diag(design.precision)))


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * values)))
