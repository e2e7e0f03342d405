"""What a run does before its first step, where its loss compares with the model as it is: it asks that model, once.

Told as events, obeys an order to stop, and goes on after a kill; the numbers are kept in the run's directory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import mlx.core as mx
import numpy as np

from edgelm.adapters.base import AdapterBase
from edgelm.runs.control import RunControl
from edgelm.runs.events import Referenced
from edgelm.runs.folder import RunFolder
from edgelm.tune.batches.arrays import ReferenceValues
from edgelm.tune.batches.batcher import BatchPlanner
from edgelm.tune.data.dataset import Dataset
from edgelm.tune.data.prepare import Prepared
from edgelm.tune.loop.workers import Workers
from edgelm.tune.reference.files import Numbers, ReferenceFiles
from edgelm.tune.reference.precompute import Precomputation
from edgelm.tune.reference.scorer import Scorer

TOLD_EVERY_S = 1.0
"""Seconds between two events."""

MakePlanner = Callable[[Dataset], BatchPlanner]


@dataclass
class ReferencePhase:
    """The references of a run's data: iterate `events()`; then `training` and `validation` are there, or `is_stopped` is."""

    data: Prepared
    scorer: Scorer
    make_planner: MakePlanner
    folder: RunFolder
    base: AdapterBase
    workers: Workers
    control: RunControl
    clock: Callable[[], float] = time.monotonic
    training: ReferenceValues | None = None
    validation: ReferenceValues | None = None
    is_stopped: bool = False
    _told_at: float | None = field(default=None, init=False)

    def events(self) -> Iterator[Referenced]:
        """Compute what is missing.

        Raises:
            FormatError: what the run keeps is of another base or of other data.
            OutputError: the disk refuses; what was kept before is whole.
        """
        held_out = self.data.validation
        total = len(self.data.train) + len(held_out or ())
        training = self._precomputation("train", self.data.train)
        yield from self._run(training, 0, total)
        self.training = training.values
        if held_out is not None and not self.is_stopped:
            validation = self._precomputation("validation", held_out)
            yield from self._run(validation, len(self.data.train), total)
            self.validation = validation.values
        mx.clear_cache()

    def _run(self, work: Precomputation, before: int, total: int) -> Iterator[Referenced]:
        for done in work.rows():
            is_due = self._told_at is None or self.clock() - self._told_at >= TOLD_EVERY_S
            if is_due or before + done == total:
                self._told_at = self.clock()
                yield Referenced(before + done, total)
            self.control.look()
            if done < len(work.data) and self.workers.agree(self.control.should_stop):
                work.keep()
                self.is_stopped = True
                return

    def _precomputation(self, name: str, data: Dataset) -> Precomputation:
        planner, workers = self.make_planner(data), self.workers
        binding = {"base": self.base.sha256, "data": data.sha256}
        files = ReferenceFiles(self.folder.path / "reference", name, binding, planner.layout)
        is_alone = workers.size == 1
        return Precomputation(
            data,
            planner,
            self.scorer.log_probs,
            files,
            share=workers.share,
            add_up=None if is_alone else self._add_up,
            is_writer=workers.is_first,
        )

    def _add_up(self, numbers: Numbers) -> Numbers:
        added: Numbers = np.array(
            self.workers.sum_arrays({"numbers": mx.array(numbers)})["numbers"], np.float32
        )
        return added
