"""One training step of an unread network, as a graph.

The step is the one that trains (`edgelm.tune.step.stepper.Stepper`): gradients, clipping and update in one, on batches of a
given shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_unflatten

from edgelm.adapters.scoring.head import install_score
from edgelm.errors import UnsupportedError
from edgelm.tune.batches.batcher import SharedPositions, TrainingBatch
from edgelm.tune.objectives.objective import ADVANTAGES, IMITATED, OLD, REFERENCE, Objective
from edgelm.tune.objectives.settings import make_objective
from edgelm.tune.plan.trace import recomputed
from edgelm.tune.plan.trace.fusion import fuse
from edgelm.tune.plan.trace.graph import Graph, trace
from edgelm.tune.plan.trace.work import Work, find_work
from edgelm.tune.settings import TuneSettings
from edgelm.tune.step.batch_arrays import arrays_of
from edgelm.tune.step.methods import make_trainable
from edgelm.tune.step.optimizer import Optimizer
from edgelm.tune.step.shared_prompt import row_caches
from edgelm.tune.step.stepper import Stepper
from edgelm.zoo.tree import flat_arrays, flat_parameters


@dataclass(frozen=True, slots=True)
class BatchShape:
    """What decides the cost of a batch."""

    lanes: int
    """B."""
    length: int
    """T."""
    is_packed: bool = False
    trained_share: float = 1.0
    """The share of positions that are trained, 0 to 1: the head makes logits of these only."""
    places: int = 0
    """How many sequences a batch of packed preferences or verdicts has room for."""
    copied: int = 0
    """How many positions of shared prompts a lane of packed pairs has room for."""


@dataclass(frozen=True)
class StepGraph:
    """The step, and what it keeps between steps."""

    graph: Graph
    work: Work
    weights_bytes: int
    """Bytes of what is not trained."""
    trainable_count: int
    trainable_bytes: int
    optimizer_bytes: int


def trace_step(network: Any, config: dict[str, Any], settings: TuneSettings, shape: BatchShape) -> StepGraph:
    """Price a step of `network` (see `unread.build_unread`), which this makes trainable.

    Raises:
        UnsupportedError: MLX cannot export what the architecture computes.
        OptionError: targets or layers that the network does not have.
    """
    make_trainable(network, settings.method, is_traced=True)
    objective = make_objective(settings.objective)
    if objective.scores_answers:
        install_score(network, is_traced=True)
    stepper = Stepper(
        network,
        Optimizer(settings.optimizer),
        objective,
        clip=settings.optimizer.clip,
        chunk=settings.loop.loss_chunk,
        compiled=False,
        make_caches=lambda *placing: row_caches(network, config, *placing),
        is_traced=True,
    )
    step = _Step(network, stepper, settings.loop.grad_checkpoint, arrays_for(shape, objective))
    try:
        graph = trace(step, step.given)
    except ValueError as error:
        raise UnsupportedError(
            f"a training step of {config.get('model_type')} cannot be priced before it is run: {error}"
        ) from error
    fused = fuse(graph) if settings.loop.compiled else graph
    return StepGraph(
        graph=fused,
        work=find_work(graph, fused),
        weights_bytes=_bytes(step.frozen.values()),
        trainable_count=sum(value.size for value in step.parameters.values()),
        trainable_bytes=_bytes(step.parameters.values()),
        optimizer_bytes=_bytes(step.state.values()),
    )


class _Step:
    """A function of flat arrays, as MLX exports them."""

    def __init__(
        self, network: Any, stepper: Stepper, is_recomputed: bool, batch: dict[str, mx.array]
    ) -> None:
        self._network = network
        self._stepper = stepper
        self._is_recomputed = is_recomputed
        self.parameters = flat_arrays(stepper.parameters)
        self.state = flat_arrays(stepper.state)
        self.batch = batch
        everything = flat_parameters(network)
        self.frozen = {name: value for name, value in everything.items() if name not in self.parameters}

    @property
    def given(self) -> list[mx.array]:
        """What it is a function of."""
        return [value for part in self._parts for value in part.values()]

    @property
    def _parts(self) -> tuple[dict[str, mx.array], ...]:
        return (self.parameters, self.state, self.batch, self.frozen)

    def __call__(self, *arrays: mx.array) -> list[mx.array]:
        left = iter(arrays)
        parameters, state, batch, frozen = ({name: next(left) for name in part} for part in self._parts)
        self._network.update(_tree(frozen))
        tree = _tree(parameters)
        if self._is_recomputed:
            self._network.update(tree)
            gradients, loss = recomputed.differentiate(self._network, tree, lambda: self._stepper.sums(batch))
        else:
            gradients, loss, _ = self._stepper.differentiate(tree, batch)
        changed = self._stepper.updated(tree, _tree(state), gradients, loss, mx.array(1.0), mx.array(0.0))
        return [value for part in changed for value in _leaves(part)]


def _leaves(tree: Any) -> list[mx.array]:
    return [tree] if isinstance(tree, mx.array) else list(flat_arrays(tree).values())


def _tree(flat: dict[str, mx.array]) -> Any:
    return tree_unflatten(list(flat.items()))


def _bytes(arrays: Any) -> int:
    return sum(value.nbytes for value in arrays)


def arrays_for(shape: BatchShape, objective: Objective) -> dict[str, mx.array]:
    """Make the arrays of a batch of that shape, of nothing in particular, as `objective` reads them."""
    return arrays_of(batch_of(shape, objective), (1.0, 1.0) if objective.has_totals else None)


def batch_of(shape: BatchShape, objective: Objective | None = None) -> TrainingBatch:
    """Make a batch of that shape, of nothing in particular, for `objective` (imitation by default)."""
    B, T = shape.lanes, shape.length
    ids = np.zeros((B, T), np.int32)
    weights = np.zeros(B * T, np.float32)
    weights[: max(1, math.ceil(shape.trained_share * B * T))] = 1
    kind = objective.data_kind if objective is not None else "sft"
    named = {REFERENCE: objective is not None and objective.needs_reference}
    named[IMITATED] = objective is not None and objective.imitates_prompts
    named[ADVANTAGES] = named[OLD] = kind == "rollout"
    return TrainingBatch(
        inputs=ids,
        targets=ids,
        weights=weights.reshape(B, T),
        segments=np.ones((B, T), np.int32) if shape.is_packed else None,
        lengths=np.full(B, T, np.int32),
        rows=tuple(range(B)),
        labels=np.zeros(shape.places or B, np.bool_) if kind == "kto" else None,
        columns={name: np.zeros((B, T), np.float32) for name, is_read in named.items() if is_read},
        sequences=ids if shape.places else None,
        sequence_count=shape.places,
        shared=SharedPositions(ids, *(np.zeros((B, shape.copied), np.int32) for _ in range(2)))
        if shape.copied
        else None,
        present=np.ones(shape.places, np.float32) if kind == "rollout" else None,
    )
