"""Batches: which rows go side by side, and the arrays they become.

Every epoch holds every row exactly once. A plan depends only on the data, the settings, the seed and the epoch, so a
resumed run continues at any index without replaying; and all plans of a run have one of a few shapes, so that
compiled steps are reused. Knows nothing about networks.

Shapes: B lanes, T positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgelm.tune.data.dataset import Dataset

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """What a batch will hold, before any array is made.

    A lane is one row of the arrays. It holds one dataset row, or several after each other (packed), or none.
    """

    lanes: tuple[tuple[int, ...], ...]
    """Of each lane, the indices of its rows in the dataset."""
    length: int
    """T."""
    is_packed: bool = False

    @property
    def rows(self) -> tuple[int, ...]:
        """Every dataset row in the batch, lane by lane."""
        return tuple(row for lane in self.lanes for row in lane)

    def shard(self, rank: int, world: int) -> BatchPlan:
        """The part of one of `world` workers: every `world`th lane, in arrays of one shape on all of them."""
        count = -(-len(self.lanes) // world)
        mine = self.lanes[rank::world]
        return BatchPlan(mine + ((),) * (count - len(mine)), self.length, self.is_packed)


@dataclass(frozen=True)
class Batch:
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
    """[B]; for KTO: whether the answer is desirable."""

    @property
    def target_count(self) -> int:
        """Trained tokens."""
        return int(self.weights.sum())


class Batcher:
    """Plans epochs of `dataset` and makes their arrays.

    Args:
        dataset: what to train on.
        batch_tokens: positions of one batch (B * T) at most, unless one row alone is longer.
        seed: with the epoch, decides every order.
        packing: put several rows in a lane, kept apart by `Batch.segments`. Only for networks that
            `edgelm.tune.packed_cache` knows to isolate them, and only for examples, not for preferences.
        world: workers that share each batch; lanes come in multiples of it.

    Raises:
        OptionError: a setting outside what it may be.
    """

    def __init__(
        self, dataset: Dataset, batch_tokens: int, seed: int = 0, *, packing: bool = False, world: int = 1
    ) -> None:
        raise NotImplementedError

    def epoch(self, number: int) -> Sequence[BatchPlan]:
        """The batches of epoch `number` (from 0), in order."""
        raise NotImplementedError

    def load(self, plan: BatchPlan) -> Batch:
        """The arrays of `plan`."""
        raise NotImplementedError

    @property
    def shapes(self) -> frozenset[tuple[int, int]]:
        """Every (B, T) that any epoch can have: how often a step is compiled at most."""
        raise NotImplementedError

    @property
    def batches_per_epoch(self) -> int:
        """Batches of every epoch: all have as many."""
        raise NotImplementedError
