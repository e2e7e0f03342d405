"""One network measured: perplexity alone, or against a reference's KL divergence and first choices too.

    with Reference(source, rows) as reference:
        for candidate in candidates:
            print(compare(reference, candidate).mean_kl)

Rows are run one at a time and logits computed in pieces, so memory holds the networks and little more.
All sums are of float32 logits, whatever the networks' dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import mlx.core as mx
import numpy as np

from edgelm.errors import UnsupportedError
from edgelm.evaluate.reference import Pieces, Reference, Runner
from edgelm.evaluate.rows import Row
from edgelm.evaluate.scores import (
    Estimate,
    Floats,
    exponential,
    mean_estimate,
    percentile_estimate,
)
from edgelm.progress import OnProgress, Progress, ignore_progress


@dataclass(frozen=True, slots=True)
class RowScore:
    """The score of one row: the negative log-likelihood in nats of each predicted token."""

    domain: str
    nll: Floats
    """[tokens]"""

    @property
    def tokens(self) -> int:
        """How many tokens were predicted."""
        return len(self.nll)


@dataclass(frozen=True, slots=True)
class RowComparison(RowScore):
    """The score of one row, and how far the network is from the reference on it."""

    reference_nll: Floats
    """[tokens]"""
    kl: Floats
    """KL(reference ‖ network) at each token [tokens], in nats."""
    agreed: int
    """The number of tokens at which both rank the same one first."""


@dataclass(frozen=True)
class Quality:
    """How well a network predicts a text."""

    tokens: int
    rows: int
    perplexity: Estimate
    perplexity_by_domain: dict[str, Estimate]


@dataclass(frozen=True)
class Comparison(Quality):
    """How far a network is from a reference, on the same tokens."""

    reference_perplexity: Estimate
    mean_kl: Estimate
    """Mean over tokens of KL(reference ‖ network), in nats."""
    p99_kl: Estimate
    """99 of 100 tokens have less."""
    top1_agreement: Estimate
    """Share of tokens where both rank the same one first."""
    kl_by_domain: dict[str, Estimate]


def score(network: Any, rows: Sequence[Row], *, on_progress: OnProgress = ignore_progress) -> list[RowScore]:
    """Return the negative log-likelihoods of `network` on `rows`."""
    runner = Runner(network)
    return [RowScore(row.domain, score_tokens(runner, row)[0]) for row in _watched(rows, on_progress)]


def score_against(
    reference: Reference, network: Any, *, on_progress: OnProgress = ignore_progress
) -> list[RowComparison]:
    """Score `network` on the rows of `reference`, and how it differs.

    Args:
        network: an mlx-lm network, or another `Reference` on the same rows.

    Raises:
        UnsupportedError: their vocabularies have different sizes.
    """
    logits = network.logits if isinstance(network, Reference) else _logits_of(network, reference.rows)
    return [
        _compare_row(reference.logits(index), logits(index), row)
        for index, row in enumerate(_watched(reference.rows, on_progress))
    ]


def _logits_of(network: Any, rows: Sequence[Row]) -> Callable[[int], Pieces]:
    runner = Runner(network)
    return lambda index: runner.logits(rows[index])


def measure(network: Any, rows: Sequence[Row], *, on_progress: OnProgress = ignore_progress) -> Quality:
    """Return the perplexity of `network` on `rows`."""
    return summarise_quality(score(network, rows, on_progress=on_progress))


def compare(reference: Reference, network: Any, *, on_progress: OnProgress = ignore_progress) -> Comparison:
    """Return how far `network` is from `reference`. Raises as `score_against` does."""
    return summarise(score_against(reference, network, on_progress=on_progress))


def summarise_quality(scores: Sequence[RowScore]) -> Quality:
    """Return the estimates of perplexity in `scores`."""
    return Quality(
        tokens=sum(row.tokens for row in scores),
        rows=len(scores),
        perplexity=exponential(_mean([row.nll for row in scores])),
        perplexity_by_domain={
            domain: exponential(_mean([row.nll for row in chosen]))
            for domain, chosen in _by_domain(scores).items()
        },
    )


def summarise(scores: Sequence[RowComparison]) -> Comparison:
    """Return the estimates of divergence and perplexity in `scores`."""
    counts = [row.tokens for row in scores]
    return Comparison(
        **vars(summarise_quality(scores)),
        reference_perplexity=exponential(_mean([row.reference_nll for row in scores])),
        mean_kl=_mean([row.kl for row in scores]),
        p99_kl=percentile_estimate([row.kl for row in scores], 99),
        top1_agreement=mean_estimate([row.agreed for row in scores], counts),
        kl_by_domain={
            domain: _mean([row.kl for row in chosen]) for domain, chosen in _by_domain(scores).items()
        },
    )


def kl_difference(left: Sequence[RowComparison], right: Sequence[RowComparison]) -> Estimate:
    """Return the mean KL of `left` minus that of `right`, scored on the same rows: which is closer, and how surely.

    Far less noisy than two means side by side.
    """
    return _mean([a.kl - b.kl for a, b in zip(left, right, strict=True)])


def _watched(rows: Sequence[Row], on_progress: OnProgress) -> Iterator[Row]:
    for index, row in enumerate(rows):
        on_progress(Progress("Measuring", index, len(rows), "rows", row.domain))
        yield row
        mx.clear_cache()
    on_progress(Progress("Measuring", len(rows), len(rows), "rows"))


def score_tokens(runner: Runner, row: Row) -> tuple[Floats, Floats]:
    """Score the tokens of `row`: negative log-likelihoods [tokens] in nats, and 1 where a token is the likeliest."""
    parts = []
    for piece, logits in runner.logits(row):
        targets = _targets(row, piece)
        part = [_nll(_log_probabilities(logits), targets), mx.argmax(logits, axis=-1) == targets]
        mx.eval(part)
        parts.append([_numbers(values) for values in part])
    nll, likeliest = (np.concatenate(part) for part in zip(*parts, strict=True))
    return nll, likeliest


def _compare_row(reference: Pieces, network: Pieces, row: Row) -> RowComparison:
    parts = [
        _differences(expected, actual, _targets(row, piece))
        for (piece, expected), (_, actual) in zip(reference, network, strict=True)
    ]
    nll, reference_nll, kl, agreed = (np.concatenate(part) for part in zip(*parts, strict=True))
    return RowComparison(row.domain, nll, reference_nll, kl, int(agreed.sum()))


def _differences(expected: mx.array, actual: mx.array, targets: mx.array) -> list[Floats]:
    """Both negative log-likelihoods, KL and agreement, each [t], from the logits [t, V] of both."""
    if expected.shape != actual.shape:
        raise UnsupportedError(
            f"the vocabulary has {actual.shape[-1]:,} entries, and the reference's {expected.shape[-1]:,}",
            hint="only models with the same tokenizer can be compared",
        )
    p, q = _log_probabilities(expected), _log_probabilities(actual)
    # A token that the reference rules out (-inf) adds nothing, whatever the network makes of it.
    kl = mx.where(mx.isinf(p), 0.0, mx.exp(p) * (p - q)).sum(axis=-1)
    agreed = mx.argmax(p, axis=-1) == mx.argmax(q, axis=-1)
    # Rounding in the last place can take the divergence of equal distributions below zero.
    parts = [_nll(q, targets), _nll(p, targets), mx.maximum(kl, 0.0), agreed]
    mx.eval(parts)
    return [_numbers(part) for part in parts]


def _log_probabilities(logits: mx.array) -> mx.array:
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)


def _nll(log_probabilities: mx.array, targets: mx.array) -> mx.array:
    return -mx.take_along_axis(log_probabilities, targets[:, None], axis=-1)[:, 0]


def _targets(row: Row, piece: slice) -> mx.array:
    """The tokens that positions `piece` predict: each the one after it."""
    return mx.array(row.ids[piece.start + 1 : piece.stop + 1])


def _numbers(values: mx.array) -> Floats:
    return np.array(values, dtype=np.float64)


def _mean(by_row: Sequence[Floats]) -> Estimate:
    return mean_estimate([float(values.sum()) for values in by_row], [len(values) for values in by_row])


_Scores = TypeVar("_Scores", bound=RowScore)


def _by_domain(scores: Sequence[_Scores]) -> dict[str, list[_Scores]]:
    scores_of: dict[str, list[_Scores]] = {}
    for row in scores:
        scores_of.setdefault(row.domain, []).append(row)
    return scores_of
