"""Batches: which rows go side by side, and the arrays they become.

Every epoch holds every row exactly once. A plan depends only on the data, the settings, the seed and the epoch, so a
resumed run continues at any index without replaying; and all plans of a run have one of a few shapes, so that
compiled steps are reused. Knows nothing about networks.

Both answers of a pair are always in one lane, or in two that belong together: no batch, step or machine has one of them alone.

Shapes: B lanes (twice as many for preferences that are not packed), T positions, S sequences.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from edgelm.errors import OptionError
from edgelm.tune.batches.arrays import PlacedSequence, ReferenceValues, lay_out
from edgelm.tune.batches.buckets import bucket_of, choose_lengths, lanes_of, round_up
from edgelm.tune.batches.packing import choose_layout, make_packs
from edgelm.tune.data.dataset import Dataset
from edgelm.tune.data.rows import Judged, Pair, Row
from edgelm.tune.objectives.objective import IMITATED, MARGIN, REFERENCE

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
class SharedPositions:
    """Prompts that both answers of a pair look at (see `edgelm.tune.step.shared_prompt`)."""

    branches: npt.NDArray[np.int32]
    """[B, T]; 0 is of a prompt, 1 of a chosen answer, 2 of a rejected one."""
    copies: npt.NDArray[np.int32]
    """[B, M]; positions of prompts."""
    shifts: npt.NDArray[np.int32]
    """[B, M]; how much further back their rejected answer lies than behind its prompt."""


@dataclass(frozen=True)
class TrainingBatch:
    """Arrays for one step. Position t reads `inputs[:, t]` and is trained to say `targets[:, t]`.

    Of preferences that are not packed B is twice the lanes: the chosen sequences, then the rejected ones in the same order.
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
    """[S]; for KTO: whether the answer is desirable. Of an empty place, False."""
    columns: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    """[B, T] by name: other numbers of each target that an objective reads, as those of a reference."""
    sequences: npt.NDArray[np.int32] | None = None
    """[B, T]; of packed preferences and verdicts: the number of the sequence, from 0; of pairs the chosen ones come first, then
    the rejected ones. None: every lane is one."""
    sequence_count: int = 0
    """S, some places of which are empty, where `sequences` says who is who."""
    present: npt.NDArray[np.float32] | None = None
    """[S]; 1 where there is a sequence, though none of its tokens may be trained. None: where a token is."""
    mismatched: TrainingBatch | None = None
    """For KTO: a batch of the same shape, of prompts with answers to others."""
    shared: SharedPositions | None = None
    """Which positions both answers of a packed pair share; its segments are pairs then. None: none are."""

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
            `edgelm.tune.step.packed_cache` knows to isolate them. Rows much longer than the others go into batches of
            their own, unpacked.
        world: workers that share each batch; lanes come in multiples of it.
        sharing: a packed pair has its prompt once. Only for networks that `edgelm.tune.step.shared_prompt` knows.
        imitates_prompts: the column `imitated` is to mark all targets of chosen answers, those in their prompts too.
        reference: log-probabilities of the targets under the reference model, for the column `reference`.

    Raises:
        OptionError: no rows, or a setting outside what it may be.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_tokens: int,
        seed: int = 0,
        *,
        packing: bool = False,
        world: int = 1,
        sharing: bool = False,
        imitates_prompts: bool = False,
        reference: ReferenceValues | None = None,
    ) -> None:
        _check(dataset, batch_tokens, world)
        self._dataset = dataset
        self._seed = seed
        self._world = world
        self._imitates_prompts = imitates_prompts
        self._reference = reference
        named = {REFERENCE: reference, IMITATED: imitates_prompts, MARGIN: _has_margins(dataset)}
        self._columns = [name for name, is_there in named.items() if is_there]
        self._per_lane = 2 if dataset.kind == "preference" else 1
        self._is_shared = sharing and dataset.kind == "preference"
        self._sizes = _sizes(dataset)
        self._packed_sizes = [self._packed_size(row, size) for row, size in self._rows()]
        layout = choose_layout(self._packed_sizes, batch_tokens, world) if packing else None
        self._shape = layout.shape if layout else None
        limit = layout.limit if layout else 0
        self._packed = [index for index, size in enumerate(self._packed_sizes) if size <= limit]
        self._single = [index for index, size in enumerate(self._packed_sizes) if size > limit]
        self._least = min((self._packed_sizes[row] for row in self._packed), default=1)
        single = [self._sizes[row] for row in self._single]
        self._lengths = choose_lengths(single) if single else ()
        self._batch_tokens = batch_tokens
        first = self.epoch(0)
        shapes = [self.shape_of(plan) for plan in first]
        self._shapes = frozenset(shapes)
        self._count = len(first)
        self._positions = sum(lanes * length for lanes, length in shapes)

    def _packed_size(self, row: Row, size: int) -> int:
        if not isinstance(row, Pair):
            return size
        return row.packed_size - (row.shared_size if self._is_shared else 0)

    def _rows(self) -> Iterator[tuple[Row, int]]:
        return zip(self._dataset.rows, self._sizes, strict=True)

    def epoch(self, number: int) -> tuple[BatchPlan, ...]:
        """Plan the batches of epoch `number` (from 0), in order."""
        # A string seeds the same on every platform and Python.
        rng = random.Random(f"{self._seed}/{number}")
        plans = [*self._packed_plans(rng), *self._single_plans(rng)]
        rng.shuffle(plans)
        return tuple(plans)

    def shape_of(self, plan: BatchPlan) -> tuple[int, int]:
        """Return (B, T) of its arrays."""
        return len(plan.lanes) * (1 if plan.is_packed else self._per_lane), plan.length

    def ready(self, plans: Sequence[BatchPlan]) -> Sequence[BatchPlan]:
        """Return them: the data of a step is there beforehand."""
        return plans

    def step_metrics(self) -> dict[str, float]:
        """Return nothing: rows are what they are."""
        return {}

    def load(self, plan: BatchPlan) -> TrainingBatch:
        """Make the arrays of `plan`."""
        batch = self._arrays(plan, self._placed(plan))
        if self._dataset.kind != "kto" or self._reference is None:
            return batch
        return dataclasses.replace(batch, mismatched=self._arrays(plan, self._mismatched(plan)))

    def load_mismatched(self, plan: BatchPlan) -> TrainingBatch:
        """Make the arrays of the prompts of `plan` with answers to others."""
        return self._arrays(plan, self._mismatched(plan))

    def sequence_numbers(self, plan: BatchPlan) -> list[int]:
        """Return the numbers, as `ReferenceValues` counts, of the sequences in the order in which they lie."""
        return [placed.number for lane in self._placed(plan) for placed in lane]

    def _arrays(self, plan: BatchPlan, lanes: Sequence[Sequence[PlacedSequence]]) -> TrainingBatch:
        copied = self.copied_count(plan)
        laid = lay_out(lanes, plan.length, self._columns, copied)
        count = self.sequence_count(plan)
        shared = SharedPositions(laid.branches, laid.copies, laid.shifts) if copied else None
        return TrainingBatch(
            laid.inputs,
            laid.targets,
            laid.weights,
            laid.segments if plan.is_packed else None,
            laid.lengths,
            plan.rows,
            self._labels(plan),
            laid.columns,
            laid.sequences if count else None,
            count,
            shared=shared,
        )

    def sequence_count(self, plan: BatchPlan) -> int:
        """Count the sequences that a batch has room for where it says which is which; 0 where every lane is one."""
        is_told = plan.is_packed and self._dataset.kind != "sft"
        return self._per_lane * self._places(plan) if is_told else 0

    def copied_count(self, plan: BatchPlan) -> int:
        """Count the shared positions that a lane has room for; 0 where none are shared."""
        if not (self._is_shared and plan.is_packed):
            return 0
        return round_up(math.ceil(self._shared_share * plan.length))

    @cached_property
    def _shared_share(self) -> float:
        """The most of a pair's positions that is a shared prompt."""
        rows = [(row, self._packed_sizes[at]) for at, row in enumerate(self._dataset.rows)]
        return max((row.shared_size / size for row, size in rows if isinstance(row, Pair)), default=0.0)

    def _places(self, plan: BatchPlan) -> int:
        """The most rows that a batch of this shape may hold: one number, whatever rows it has, so that a step fits all."""
        return len(plan.lanes) * (plan.length // max(1, self._least) if plan.is_packed else 1)

    def _placed(self, plan: BatchPlan) -> list[list[PlacedSequence]]:
        """What lies in every lane of the arrays."""
        places, lanes, count = self._places(plan), [], 0
        for rows in plan.lanes:
            parts: list[list[PlacedSequence]] = []
            for row in rows:
                parts.append(
                    [self._sequence(row, part, count + part * places) for part in range(self._per_lane)]
                )
                count += 1
            lanes.append(parts)
        if plan.is_packed:
            return [[placed for parts in lane for placed in self._beside(parts)] for lane in lanes]
        return [[parts[part] for parts in lane] for part in range(self._per_lane) for lane in lanes]

    def _beside(self, parts: Sequence[PlacedSequence]) -> Sequence[PlacedSequence]:
        """The answers to one prompt, which share it if they may."""
        row = self._dataset.rows[parts[0].number // self._per_lane]
        if not (self._is_shared and isinstance(row, Pair)):
            return parts
        size = row.shared_size
        return [dataclasses.replace(part, shared=size, is_second=at > 0) for at, part in enumerate(parts)]

    def _sequence(self, row: int, part: int, place: int) -> PlacedSequence:
        whole = self._dataset.rows[row]
        number = row * self._per_lane + part
        reference = self._reference.answers[number] if self._reference else None
        imitated = part == 0 and self._imitates_prompts
        margin = whole.margin if part == 0 and isinstance(whole, Pair) else 0.0
        return PlacedSequence(whole.sequences[part], number, place, reference, imitated, margin)

    def _mismatched(self, plan: BatchPlan) -> list[list[PlacedSequence]]:
        numbers = itertools.count()
        known = self._reference.mismatched if self._reference else None
        return [
            [
                PlacedSequence(
                    self._dataset.mismatched[row], row, next(numbers), known[row] if known else None
                )
                for row in lane
            ]
            for lane in plan.lanes
        ]

    @property
    def shapes(self) -> frozenset[tuple[int, int]]:
        """Every (B, T) that any epoch has: how often a step is compiled."""
        return self._shapes

    @property
    def layout(self) -> str:
        """A name, of 16 hexadecimal digits, of which rows are in which batch of the first epoch, and in which order."""
        return hashlib.sha256(repr(self.epoch(0)).encode()).hexdigest()[:16]

    @property
    def batches_per_epoch(self) -> int:
        """Batches of every epoch: all have as many."""
        return self._count

    @property
    def pad_share(self) -> float:
        """Share of all positions that hold no row, 0 to 1: the same in every epoch."""
        return 1 - self.used_positions / self.positions_per_epoch

    @property
    def used_positions(self) -> int:
        """Positions of an epoch that hold a row; a shared prompt counts once."""
        shared = sum(
            row.shared_size
            for row in (self._dataset.rows[at] for at in self._packed)
            if isinstance(row, Pair)
        )
        return self._dataset.token_count - (shared if self._is_shared else 0)

    @property
    def positions_per_epoch(self) -> int:
        """That go through the network in every epoch, padding and all."""
        return self._positions

    def _packed_plans(self, rng: random.Random) -> Iterator[BatchPlan]:
        if self._shape is None:
            return
        packs = make_packs([self._packed_sizes[row] for row in self._packed], self._shape, rng)
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

    def _labels(self, plan: BatchPlan) -> npt.NDArray[np.bool_] | None:
        if self._dataset.kind != "kto":
            return None
        rows = [self._dataset.rows[row] for row in plan.rows]
        if not plan.is_packed:
            lanes = [[self._dataset.rows[row] for row in lane] for lane in plan.lanes]
            return np.array([any(isinstance(r, Judged) and r.is_desirable for r in lane) for lane in lanes])
        labels = np.zeros(self._places(plan), np.bool_)
        labels[: len(rows)] = [isinstance(row, Judged) and row.is_desirable for row in rows]
        return labels


def _has_margins(dataset: Dataset) -> bool:
    return any(isinstance(row, Pair) and row.margin for row in dataset.rows)


def _sizes(dataset: Dataset) -> list[int]:
    """The longest sequence of each row; of judged rows also with the answer to another."""
    if dataset.kind != "kto":
        return [row.size for row in dataset.rows]
    return [max(row.size, other.size) for row, other in zip(dataset.rows, dataset.mismatched, strict=True)]


def _check(dataset: Dataset, batch_tokens: int, world: int) -> None:
    if not dataset.rows:
        raise OptionError("there are no rows to train on")
    if batch_tokens < 1:
        raise OptionError(f"batch_tokens is {batch_tokens}, expected 1 or more")
    if world < 1:
        raise OptionError(f"world is {world}, expected 1 or more workers")
