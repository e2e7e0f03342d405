"""The contract of a training objective: a loss that sees the network only through the log-probabilities of its targets.

Such a loss needs no logits and no code of its own for gradients. From the log-probabilities it says its value and its
derivative with respect to each of them; by the chain rule the gradient of the network is then that of a cross-entropy with
those derivatives, negated, as signed weights, which `edgelm.tune.step.losses` computes chunk by chunk. An objective knows no
network, no optimizer and no file.

Adding one: its own file here, and its line in `registry.py`.

Shapes: N target positions of a batch (padded with weight 0), B sequences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import mlx.core as mx

DataKind = Literal["sft", "preference", "kto", "rollout"]
"""What rows say: an answer to imitate, a chosen and a rejected answer, an answer with a verdict, a sampled answer with its
advantage."""

REFERENCE = "reference"
"""The column that holds the log-probabilities of the targets under the reference model."""
IMITATED = "imitated"
"""The column that marks with 1 the targets that a supervised term imitates, where these are not the trained ones of the
chosen answers: ORPO's, which has the prompts in it."""
ADVANTAGES = "advantages"
"""The column that holds the advantage of each target's answer (or of the target itself), for policy gradients."""
OLD = "old"
"""The column that holds the log-probabilities of the targets when they were sampled, for policy gradients."""

MARGIN = "margin"
"""The column that holds, at the targets of a chosen answer, by how much it is to score above the rejected one."""


@dataclass(frozen=True, slots=True)
class TargetBatch:
    """What an objective sees of a batch, beside the log-probabilities."""

    weights: mx.array
    """`[N]` float32: 1 where a token is trained, 0 where it is not, or where there is none."""
    lanes: mx.array
    """`[N]` integers from 0: the sequence of each position. For preferences the chosen sequences come first, then the rejected
    ones in the same order."""
    lane_count: int
    """B."""
    labels: mx.array | None = None
    """`[B]` of booleans, for verdicts: whether the answer is desirable."""
    columns: Mapping[str, mx.array] = field(default_factory=dict)
    """Other numbers of each position, `[N]` float32 by name: those of a reference, advantages."""
    present: mx.array | None = None
    """`[B]` float32: 1 where there is a sequence, 0 where its place is empty. None: where a token is trained."""
    totals: mx.array | None = None
    """What `Objective.totals` said, added up over all batches of the step and all machines. None: of this batch alone."""


@dataclass(frozen=True, slots=True)
class ObjectiveValue:
    """What an objective says of one batch: sums, which are divided by its denominator once all batches of a step are added."""

    loss: mx.array
    """A scalar."""
    slopes: mx.array
    """`[N]`: the derivative of `loss` with respect to each log-probability."""
    metrics: Mapping[str, mx.array] = field(default_factory=dict)
    """What to watch by name, sums as well: margins, accuracies, divergences. A scalar is divided by the denominator; of `[2]`
    numbers the first by the second, for means over anything else."""


@dataclass(frozen=True, slots=True)
class MismatchedAnswers:
    """Each row's prompt followed by the answer to another: what KTO measures its divergence on."""

    log_probs: mx.array
    """`[M]` of their targets under the network."""
    reference: mx.array
    """`[M]` under the reference model."""
    batch: TargetBatch


class Objective(Protocol):
    """One loss. Subclass it: the defaults suit a loss of tokens."""

    data_kind: DataKind
    """What rows it is trained on."""
    needs_reference: bool = False
    """Whether it reads log-probabilities under a reference model."""
    has_totals: bool = False
    """Whether `totals` says something."""
    scores_answers: bool = False
    """Whether what it sees of a target is no log-probability but the score that a scalar head gives there: each answer has one,
    at its last token."""
    imitates_prompts: bool = False
    """Whether the column `imitated` has to mark the tokens of chosen answers with those of their prompts."""

    def __call__(self, log_probs: mx.array, reference: mx.array | None, batch: TargetBatch) -> ObjectiveValue:
        """Return the loss of a batch and its slopes.

        Args:
            log_probs: `[N]`, in nats, of the targets under the network; no gradient flows through them.
            reference: `[N]`, the same under the reference model; None where there is none.
            batch: everything else.
        """
        ...

    def denominator(self, batch: TargetBatch) -> mx.array:
        """Count what the sums are divided by, a scalar: trained tokens, unless an objective counts pairs or groups."""
        return batch.weights.sum()

    def totals(self, batch: TargetBatch, mismatched: MismatchedAnswers | None = None) -> mx.array | None:
        """Return numbers `[K]` of a batch that are to be known of the whole step before its loss can be computed; else None.

        They are added up over batches and machines, and come back as `TargetBatch.totals`: so a loss with means of two kinds
        does not depend on how a step is cut into batches.
        """
        return None

    def fixed_weights(self, batch: TargetBatch) -> mx.array | None:
        """Return the negated slopes `[N]` of a loss whose slopes do not depend on log-probabilities, else None.

        Where it returns them the loss is that weighted cross-entropy itself: the head runs once instead of twice, and the
        objective is not called.
        """
        return None
