"""Batches: which rows go side by side, and the arrays they become.

Every epoch holds every row exactly once. A plan depends only on the data, the settings, the seed and the epoch, so a
resumed run continues at any index without replaying; and all plans of a run have one of a few shapes, so that
compiled steps are reused. Knows nothing about networks.

Shapes: B lanes (twice as many sequences for preferences), T positions.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edgelm.errors import OptionError
from edgelm.tune.batches.buckets import bucket_of, choose_lengths, lanes_of, round_up
from edgelm.tune.batches.packing import choose_layout, make_packs
from edgelm.tune.data.dataset import Dataset
from edgelm.tune.data.rows import Example, Judged

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """What a batch will hold, before any array is made.

    A lane holds one dataset row, or several after each other (packed), or none.
    """

    lanes: tuple[tuple[int, ...], ...]
    """The indices in the dataset of the rows of each lane."""
    length: int
    """T."""
    is_packed: bool = False

    @property
    def rows(self) -> tuple[int, ...]:
        """The dataset row numbers in the batch, lane by lane."""
        return tuple(row for lane in self.lanes for row in lane)

    def shard(self, rank: int, world: int) -> BatchPlan:
        """Return the part of one of `world` workers: every `world`th lane, in arrays of one shape on all of them."""
        count = -(-len(self.lanes) // world)
        mine = self.lanes[rank::world]
        return BatchPlan(mine + ((),) * (count - len(mine)), self.length, self.is_packed)


@dataclass(frozen=True)
class TrainingBatch:
    """Arrays for one step. Position t reads `inputs[:, t]` and is trained to say `targets[:, t]`.

    For preferences B is twice the lanes: the chosen sequences, then the rejected ones in the same order.
    """

    inputs: npt.NDArray[np.int32]
    """[B, T]; 0 where there is nothing."""
    targets: npt.NDArray[np.int32]
    """[B, T]; 0 where there is nothing."""
    weights: npt.NDArray[np.float32]
    """[B, T]; 1 where the target is trained, else 0. The loss is sum(weights * ce) / sum(weights)."""
    segments: npt.NDArray[np.int32] | None
    """[B, T]; packed rows are numbered from 1 within their lane, and 0 is padding. None if not packed."""
    lengths: npt.NDArray[np.int32]
    """[B]; positions in use."""
    rows: tuple[int, ...]
    """Dataset indices, lane by lane."""
    labels: npt.NDArray[np.bool_] | None = None
    """[B]; for KTO: whether the answer is desirable. Of an empty lane, False."""
    columns: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    """[B, T] by name: other numbers of each target that an objective reads, as those of a reference."""

    @property
    def target_count(self) -> int:
        """The number of trained tokens."""
        return int(self.weights.sum())


class BatchPlanner:
    """Plans epochs of `dataset` and makes their arrays.

    Args:
        dataset: what to train on.
        batch_tokens: positions of one batch (B * T) at most, unless one row alone has more.
        seed: with the epoch, decides every order.
        packing: put several rows in a lane, kept apart by `TrainingBatch.segments`. Only for networks that
            `edgelm.tune.step.packed_cache` knows to isolate them, and only for examples, not for preferences. Rows
            much longer than the others go into batches of their own, unpacked.
        world: workers that share each batch; lanes come in multiples of it.

    Raises:
        OptionError: no rows, or a setting outside what it may be.
    """

    def __init__(
        self, dataset: Dataset, batch_tokens: int, seed: int = 0, *, packing: bool = False, world: int = 1
    ) -> None:
        _check(dataset, batch_tokens, packing, world)
        self._dataset = dataset
        self._seed = seed
        self._world = world
        self._per_lane = 2 if dataset.kind == "preference" else 1
        self._sizes = [row.size for row in dataset.rows]
        layout = choose_layout(self._sizes, batch_tokens, world) if packing else None
        self._shape = layout.shape if layout else None
        limit = layout.limit if layout else 0
        self._packed = [index for index, size in enumerate(self._sizes) if size <= limit]
        self._single = [index for index, size in enumerate(self._sizes) if size > limit]
        self._lengths = layout.lengths if layout else choose_lengths(self._sizes)
        self._batch_tokens = batch_tokens
        first = self.epoch(0)
        self._shapes = frozenset((len(plan.lanes) * self._per_lane, plan.length) for plan in first)
        self._count = len(first)
        self._positions = sum(self._per_lane * len(plan.lanes) * plan.length for plan in first)

    def epoch(self, number: int) -> tuple[BatchPlan, ...]:
        """Plan the batches of epoch `number` (from 0), in order."""
        # A string seeds the same on every platform and Python.
        rng = random.Random(f"{self._seed}/{number}")
        plans = [*self._packed_plans(rng), *self._single_plans(rng)]
        rng.shuffle(plans)
        return tuple(plans)

    def load(self, plan: BatchPlan) -> TrainingBatch:
        """Make the arrays of `plan`."""
        sequences = self._sequences(plan)
        B, T = len(sequences), plan.length
        inputs, targets, segments = (np.zeros((B, T), np.int32) for _ in range(3))
        weights = np.zeros((B, T), np.float32)
        lengths = np.zeros(B, np.int32)
        for lane, examples in enumerate(sequences):
            for number, example in enumerate(examples, start=1):
                here = slice(lengths[lane], lengths[lane] + example.size)
                inputs[lane, here] = example.tokens[:-1]
                targets[lane, here] = example.tokens[1:]
                weights[lane, here] = example.trained[1:]
                segments[lane, here] = number
                lengths[lane] = here.stop
        labels = self._labels(plan)
        return TrainingBatch(
            inputs, targets, weights, segments if plan.is_packed else None, lengths, plan.rows, labels
        )

    @property
    def shapes(self) -> frozenset[tuple[int, int]]:
        """Every (B, T) that any epoch has: how often a step is compiled."""
        return self._shapes

    @property
    def batches_per_epoch(self) -> int:
        """Batches of every epoch: all have as many."""
        return self._count

    @property
    def pad_share(self) -> float:
        """Share of all positions that hold no row, 0 to 1: the same in every epoch."""
        return 1 - self._dataset.token_count / self.positions_per_epoch

    @property
    def positions_per_epoch(self) -> int:
        """That go through the network in every epoch, padding and all."""
        return self._positions

    def _sizes_of(self, rows: Sequence[int]) -> list[int]:
        return [self._sizes[row] for row in rows]

    def _packed_plans(self, rng: random.Random) -> Iterator[BatchPlan]:
        if self._shape is None:
            return
        packs = make_packs(self._sizes_of(self._packed), self._shape, rng)
        named = [tuple(self._packed[at] for at in pack) for pack in packs]
        for begin in range(0, len(named), self._shape.lanes):
            lanes = tuple(named[begin : begin + self._shape.lanes])
            yield BatchPlan(lanes, self._shape.length, is_packed=True)

    def _single_plans(self, rng: random.Random) -> Iterator[BatchPlan]:
        """Full batches of each length; what is left over goes to the next length, and at last into a smaller one."""
        buckets: list[list[int]] = [[] for _ in self._lengths]
        for row in self._single:
            buckets[bucket_of(self._sizes[row], self._lengths)].append(row)
        waiting: list[int] = []
        for rows, length in zip(buckets, self._lengths, strict=True):
            waiting += rows
            rng.shuffle(waiting)
            lanes = self._lanes(length)
            while len(waiting) >= lanes:
                yield BatchPlan(tuple((waiting.pop(),) for _ in range(lanes)), length)
        if waiting:
            empty = ((),) * (round_up(len(waiting), self._world) - len(waiting))
            yield BatchPlan(tuple((row,) for row in waiting) + empty, self._lengths[-1])

    def _lanes(self, length: int) -> int:
        return lanes_of(length * self._per_lane, self._batch_tokens, self._world)

    def _sequences(self, plan: BatchPlan) -> list[list[Example]]:
        """Return the examples of every sequence of the batch."""
        lanes = [[self._dataset.rows[row].sequences for row in lane] for lane in plan.lanes]
        return [[sequences[part] for sequences in lane] for part in range(self._per_lane) for lane in lanes]

    def _labels(self, plan: BatchPlan) -> npt.NDArray[np.bool_] | None:
        if self._dataset.kind != "kto":
            return None
        rows = [[self._dataset.rows[row] for row in lane] for lane in plan.lanes]
        return np.array([any(isinstance(r, Judged) and r.is_desirable for r in lane) for lane in rows])


def _check(dataset: Dataset, batch_tokens: int, packing: bool, world: int) -> None:
    if not dataset.rows:
        raise OptionError("there are no rows to train on")
    if batch_tokens < 1:
        raise OptionError(f"batch_tokens is {batch_tokens}, expected 1 or more")
    if world < 1:
        raise OptionError(f"world is {world}, expected 1 or more workers")
    if packing and dataset.kind != "sft":
        raise OptionError(f"packing is for examples, and these rows are for {dataset.kind}")
