"""The reference of a dataset: computed batch by batch before anything is trained, and gone on with after a kill.

Batches and their order follow from the data alone, and numbers of a batch from nothing but it: parts that were kept are what
would be computed again. Where several machines train together, each computes its lanes of every batch and all get the sum;
only the whole is kept then, by the first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edgelm.tune.batches.arrays import ReferenceValues
from edgelm.tune.batches.batcher import BatchPlan, BatchPlanner, TrainingBatch
from edgelm.tune.data.dataset import Dataset
from edgelm.tune.reference.files import Numbers, ReferenceFiles

PART_S = 20.0
"""Seconds of work that a kill may cost."""

Score = Callable[[TrainingBatch], Numbers]
"""The log-probabilities of a batch's targets, in the order in which they lie."""


@dataclass
class Precomputation:
    """The numbers of one dataset on their way. Iterate `rows()`, then ask for `values`.

    Args:
        data: pairs or judged answers.
        planner: its batches.
        score: the reference model.
        files: where the numbers are kept.
        share: turns a plan into this machine's part of it.
        add_up: adds up the numbers of all machines; None where there is one.
        is_writer: whether this machine keeps them.
        clock: seconds, by which parts are cut.
    """

    data: Dataset
    planner: BatchPlanner
    score: Score
    files: ReferenceFiles
    share: Callable[[BatchPlan], BatchPlan] = lambda plan: plan
    add_up: Callable[[Numbers], Numbers] | None = None
    is_writer: bool = True
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        sequences = [*self.data.sequences, *self.data.mismatched]
        self._offsets = np.concatenate([[0], np.cumsum([item.target_count for item in sequences])]).tolist()
        self._answers = len(sequences) - len(self.data.mismatched)
        self._numbers: Numbers = np.zeros(self._offsets[-1], np.float32)
        self._pending: list[Numbers] = []
        self._first = 0

    @property
    def values(self) -> ReferenceValues:
        """The numbers, by sequence."""
        cut = [self._numbers[a:b] for a, b in zip(self._offsets[:-1], self._offsets[1:], strict=True)]
        return ReferenceValues(cut[: self._answers], cut[self._answers :])

    def rows(self) -> Iterator[int]:
        """Compute what is missing, and yield how many rows are done after each batch.

        Raises:
            FormatError: what is kept is of another base or of other data.
            OutputError: the disk refuses.
        """
        kept = self.files.read(self._numbers.size)
        if kept is not None:
            self._numbers = kept
            yield len(self.data)
            return
        is_alone = self.add_up is None
        plans = self.planner.epoch(0)
        parts = self.files.read_parts() if is_alone else {}
        at = done = 0
        began = self.clock()
        while at < len(plans):
            if at in parts and not self._pending:
                end, numbers = parts[at]
                self._place(plans[at:end], numbers)
                done += sum(len(plan.rows) for plan in plans[at:end])
                at = self._first = end
            else:
                numbers = self._scored(plans[at])
                self._place(plans[at : at + 1], numbers)
                self._pending.append(numbers)
                done, at = done + len(plans[at].rows), at + 1
                if is_alone and (at in parts or self.clock() - began >= PART_S):
                    self._keep(at)
                    began = self.clock()
            yield done
        if self.add_up is not None:
            self._numbers = self.add_up(self._numbers)
        if self.is_writer:
            self.files.write(self._numbers)

    def keep(self) -> None:
        """Keep what was computed since the last part: whoever stops now loses nothing."""
        if self._pending and self.add_up is None:
            self._keep(self._first + len(self._pending))

    def _keep(self, end: int) -> None:
        self.files.add_part(self._first, end, np.concatenate(self._pending))
        self._pending, self._first = [], end

    def _scored(self, plan: BatchPlan) -> Numbers:
        """Answers, then those that are mismatched."""
        mine = self.share(plan)
        scored = [self.score(self.planner.load(mine))]
        if self.data.mismatched:
            scored.append(self.score(self.planner.load_mismatched(mine)))
        return np.concatenate(scored)

    def _place(self, plans: Sequence[BatchPlan], numbers: Numbers) -> None:
        at = 0
        for plan in map(self.share, plans):
            order = self.planner.sequence_numbers(plan)
            order += [self._answers + row for row in plan.rows] if self.data.mismatched else []
            for number in order:
                begin, end = self._offsets[number : number + 2]
                self._numbers[begin:end] = numbers[at : at + end - begin]
                at += end - begin
