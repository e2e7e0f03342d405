"""One step: gradients of batches, added up, clipped, and one update of the weights.

The gradient of a step is that of the mean loss over all it trains (tokens, pairs: what the objective counts), however that was
cut into batches: sums are added, and divided once. An update that is not finite leaves weights and optimizer as they were.
Runs on the thread that loaded the network.

Shapes: B lanes, T positions, N trained positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map, tree_unflatten

from edgelm.errors import FormatError
from edgelm.tune.batches.batcher import TrainingBatch
from edgelm.tune.objectives.objective import REFERENCE, MismatchedAnswers, Objective
from edgelm.tune.objectives.supervised import Supervised
from edgelm.tune.step.answer_scores import AnswerScores
from edgelm.tune.step.batch_arrays import GRANULE, arrays_of, targets_of
from edgelm.tune.step.head import find_head
from edgelm.tune.step.optimizer import Optimizer, Tree
from edgelm.tune.step.target_logits import (
    MakeCaches,
    ObjectiveSums,
    TargetLogits,
    objective_loss,
    objective_sums,
    target_hidden,
    target_logits,
)
from edgelm.zoo.tree import flat_arrays, flat_trainable


@dataclass(frozen=True, slots=True)
class Gradients:
    """Sums over batches, still to be divided by their denominator."""

    tree: Tree
    loss: mx.array
    denominator: mx.array
    """A scalar: trained tokens, pairs or groups, as the objective counts."""
    metrics: dict[str, mx.array] = field(default_factory=dict)

    def __add__(self, other: Gradients) -> Gradients:
        tree, metrics = tree_map(mx.add, (self.tree, self.metrics), (other.tree, other.metrics))
        return Gradients(tree, self.loss + other.loss, self.denominator + other.denominator, metrics)


@dataclass(frozen=True, slots=True)
class MeasuredSums:
    """What was measured of batches, still to be divided."""

    loss: float
    denominator: float
    metrics: dict[str, mx.array] = field(default_factory=dict)

    def means(self) -> dict[str, float]:
        """Return the means of what the objective watches."""
        return means_of(self.metrics, self.denominator)


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one update did."""

    loss: float
    """The objective's mean before the update: of supervised training the cross-entropy of the trained tokens, in nats."""
    grad_norm: float
    """The norm of the mean gradient, before clipping."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Means of what the objective watches beside its loss."""

    @property
    def is_finite(self) -> bool:
        """False: nothing was changed."""
        return bool(np.isfinite(self.loss) and np.isfinite(self.grad_norm))


class Stepper:
    """The trainable weights of a network, and how they change.

    Args:
        network: in training mode, with everything frozen that is not to be trained.
        optimizer: the update rule.
        objective: the loss.
        clip: largest norm of the mean gradient; 0 is without limit.
        chunk: positions whose logits exist at once; 0 is all.
        compiled: whether to compile.
        make_caches: for packed batches.
        is_traced: the network is only to be priced (`edgelm.tune.plan.trace`): its weights hold nothing, and nothing
            is evaluated.
    """

    def __init__(
        self,
        network: Any,
        optimizer: Optimizer,
        objective: Objective | None = None,
        *,
        clip: float = 1.0,
        chunk: int = GRANULE,
        compiled: bool = True,
        make_caches: MakeCaches | None = None,
        is_traced: bool = False,
    ) -> None:
        self._network = network
        self._objective = objective or Supervised()
        self._make_caches = make_caches
        self._chunk = chunk
        is_cut = chunk or self._objective.scores_answers
        self._head = find_head(network, is_traced=is_traced) if is_cut else None
        self.parameters: Tree = _trainable(network)
        self.state: Tree = optimizer.start(self.parameters)
        if not is_traced:
            mx.eval(self.parameters, self.state)
        random = mx.random.state
        self._optimizer = optimizer
        self._clip = clip
        self._gradients = self.differentiate
        self._apply = self.updated
        if compiled:
            self._gradients = mx.compile(self.differentiate, inputs=random, outputs=random)
            self._apply = mx.compile(self.updated)

    @property
    def is_chunked(self) -> bool:
        """Whether logits are made a chunk at a time."""
        return self._head is not None

    def totals(self, batch: TrainingBatch) -> list[float] | None:
        """Return what the objective has to know of a whole step, of this batch; None if it needs no such thing."""
        if not self._objective.has_totals:
            return None
        targets = targets_of(arrays_of(batch))
        mismatched = None
        if batch.mismatched is not None:
            other = arrays_of(batch.mismatched)
            seen = targets_of(other)
            mismatched = MismatchedAnswers(self._evaluated_log_probs(other), seen.columns[REFERENCE], seen)
        totals = self._objective.totals(targets, mismatched)
        return None if totals is None else [float(value) for value in np.array(totals)]

    def _evaluated_log_probs(self, arrays: dict[str, mx.array]) -> mx.array:
        self.sync()
        self._network.eval()
        try:
            log_probs = self._logits(arrays).log_probs()
            mx.eval(log_probs)
        finally:
            self._network.train()
        return log_probs

    def gradients(self, batch: TrainingBatch, totals: Sequence[float] | None = None) -> Gradients:
        """Return the gradients of one batch; nothing is changed. `totals` are those of all batches of the step.

        None: the step has no other batch.
        """
        arrays = arrays_of(batch, self.totals(batch) if totals is None else totals)
        tree, loss, metrics = self._gradients(self.parameters, arrays)
        self.sync()  # tracing leaves its own arrays in the network
        return Gradients(tree, loss, self._objective.denominator(targets_of(arrays)), metrics)

    def update(self, gradients: Gradients, rate: float) -> StepResult:
        """Change the weights by the mean gradient, unless it is not finite."""
        self.parameters, self.state, loss, norm = self._apply(
            self.parameters,
            self.state,
            gradients.tree,
            gradients.loss,
            gradients.denominator,
            mx.array(rate),
        )
        mx.eval(self.parameters, self.state, loss, norm)
        metrics = means_of(gradients.metrics, _number(gradients.denominator))
        return StepResult(_number(loss), _number(norm), metrics)

    def loss(
        self, batches: Sequence[TrainingBatch], totals: Sequence[float] | None = None
    ) -> tuple[float, float]:
        """Return the summed loss of batches under the weights as they are, without dropout, and its denominator."""
        sums = self.measure(batches, totals)
        return sums.loss, sums.denominator

    def measure(
        self, batches: Sequence[TrainingBatch], totals: Sequence[float] | None = None
    ) -> MeasuredSums:
        """Return the same with the sums of what the objective watches; `totals` are those of all that is measured."""
        self.sync()
        self._network.eval()
        total = denominator = 0.0
        metrics: dict[str, mx.array] = {}
        try:
            for batch in batches:
                arrays = arrays_of(batch, totals)
                targets = targets_of(arrays)
                loss, watched = objective_loss(self._objective, self._logits(arrays), targets)
                total += _number(loss)
                denominator += _number(self._objective.denominator(targets))
                metrics = {name: metrics.get(name, mx.array(0.0)) + value for name, value in watched.items()}
                mx.eval(metrics)
        finally:
            self._network.train()
        return MeasuredSums(total, denominator, metrics)

    def sync(self) -> None:
        """Put the weights into the network, after compiled steps that worked on `parameters`."""
        self._network.update(self.parameters)

    def restore(self, parameters: dict[str, mx.array], state: dict[str, mx.array]) -> None:
        """Go on from a checkpoint, whose arrays are named by their paths.

        Raises:
            FormatError: they are not those of this network and optimizer.
        """
        self.parameters = _filled(self.parameters, parameters)
        self.state = _filled(self.state, state)
        mx.eval(self.parameters, self.state)
        self.sync()

    def differentiate(
        self, parameters: Tree, arrays: dict[str, mx.array]
    ) -> tuple[Tree, mx.array, dict[str, mx.array]]:
        """Return the gradient of the summed loss, the loss and the metrics; the network is left with traced arrays."""

        def surrogate(tree: Tree) -> ObjectiveSums:
            self._network.update(tree)
            return self.sums(arrays)

        (_, loss, metrics), tree = mx.value_and_grad(surrogate)(parameters)
        return tree, loss, metrics

    def sums(self, arrays: dict[str, mx.array]) -> ObjectiveSums:
        """Return the loss of one batch under the weights that are in the network."""
        return objective_sums(self._objective, self._logits(arrays), targets_of(arrays))

    def _logits(self, arrays: dict[str, mx.array]) -> TargetLogits:
        if self._objective.scores_answers:
            assert self._head is not None
            hidden = target_hidden(self._head, arrays, self._make_caches)
            return AnswerScores(self._network.score(hidden))
        return target_logits(self._network, self._head, arrays, self._chunk, self._make_caches)

    def updated(
        self,
        parameters: Tree,
        state: Tree,
        sums: Tree,
        loss: mx.array,
        denominator: mx.array,
        rate: mx.array,
    ) -> tuple[Tree, Tree, mx.array, mx.array]:
        """Return parameters, state, mean loss and norm after one update by the mean of summed gradients."""
        mean = tree_map(lambda grad: grad / denominator.astype(grad.dtype), sums)
        norm = _norm(mean)
        if self._clip:
            factor = mx.minimum(1.0, self._clip / (norm + 1e-6))
            mean = tree_map(lambda grad: (grad * factor).astype(grad.dtype), mean)
        changed = self._optimizer.update(parameters, state, mean, rate)
        mean_loss = loss / denominator
        is_finite = mx.isfinite(norm) & mx.isfinite(mean_loss)
        kept = tree_map(lambda new, old: mx.where(is_finite, new, old), changed, (parameters, state))
        return kept[0], kept[1], mean_loss, norm


def means_of(metrics: dict[str, mx.array], denominator: float) -> dict[str, float]:
    """Divide sums by their denominator, or by the count beside them; what nothing was counted of is left out."""
    means: dict[str, float] = {}
    for name, value in metrics.items():
        numbers: Any = np.array(value, np.float64).reshape(-1)
        count = float(numbers[1]) if numbers.size > 1 else denominator
        if count:
            means[name] = float(numbers[0]) / count
    return means


def _trainable(network: Any) -> Tree:
    return tree_unflatten(list(flat_trainable(network).items()))


def _filled(template: Tree, arrays: dict[str, mx.array]) -> Tree:
    """A tree like `template`, in its order: that of sums over it decides their last bit."""
    wanted = flat_arrays(template)
    different = sorted(
        name
        for name in wanted.keys() | arrays.keys()
        if name not in wanted or name not in arrays or wanted[name].shape != arrays[name].shape
    )
    if different:
        raise FormatError(f"the checkpoint is of another network or optimizer: it differs in {different[0]}")
    return tree_unflatten([(name, arrays[name]) for name in wanted])


def _number(array: mx.array) -> float:
    value: Any = array.item()
    return float(value)


def _norm(tree: Tree) -> mx.array:
    squares = (grad.astype(mx.float32).square().sum() for grad in flat_arrays(tree).values())
    return mx.sqrt(sum(squares, mx.array(0.0)))
