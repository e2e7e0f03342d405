"""Several machines that train together: every one takes its lanes of each batch, and gradients are summed.

Weights stay equal on all of them because they start equal and get the same sums. Only the first one writes. Alone, nothing
is sent. Started by `mlx.launch`; see `docs/tuning.md`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx.nn.utils import average_gradients
from mlx.utils import tree_map

from edgelm.tune.batches.batcher import BatchPlan
from edgelm.tune.step.stepper import Gradients

_LAUNCHED = ("MLX_RANK", "OMPI_COMM_WORLD_RANK")
"""What `mlx.launch` and mpirun set."""


@dataclass(frozen=True)
class Workers:
    """This process among those that train together."""

    rank: int
    size: int
    group: Any = None

    @classmethod
    def alone(cls) -> Workers:
        """Return a process that has no others beside it."""
        return cls(0, 1)

    @classmethod
    def join(cls) -> Workers:
        """Join those that `mlx.launch` started; alone without it."""
        if not any(name in os.environ for name in _LAUNCHED):
            return cls.alone()
        group = mx.distributed.init()
        return cls(group.rank(), group.size(), group)

    @property
    def is_first(self) -> bool:
        """Whether this one writes."""
        return self.rank == 0

    def share(self, plan: BatchPlan) -> BatchPlan:
        """Return this one's lanes of a batch."""
        return plan if self.size == 1 else plan.shard(self.rank, self.size)

    def sum(self, gradients: Gradients) -> Gradients:
        """Add up the gradients of all."""
        if self.size == 1:
            return gradients
        tree = tree_map(lambda grad: grad * self.size, average_gradients(gradients.tree, self.group))
        loss, denominator = self._sum(mx.stack([gradients.loss, gradients.denominator]))
        metrics = self.sum_arrays(gradients.metrics)
        mx.eval(tree, loss, denominator, metrics)
        return Gradients(tree, loss, denominator, metrics)

    def sum_arrays(self, arrays: dict[str, mx.array]) -> dict[str, mx.array]:
        """Add up small arrays of all, by their names."""
        if self.size == 1 or not arrays:
            return arrays
        names = sorted(arrays)
        sizes = [max(1, arrays[name].size) for name in names]
        ends = [sum(sizes[: at + 1]) for at in range(len(sizes) - 1)]
        together = self._sum(mx.concatenate([arrays[name].reshape(-1) for name in names]))
        parts = mx.split(together, ends)
        return {name: part.reshape(arrays[name].shape) for name, part in zip(names, parts, strict=True)}

    def sum_numbers(self, *numbers: float) -> tuple[float, ...]:
        """Add up plain numbers of all."""
        if self.size == 1:
            return numbers
        total: Any = self._sum(mx.array(numbers)).tolist()
        return tuple(total)

    def agree(self, flag: bool) -> bool:
        """Tell whether any of them says so: what one decides alone would leave the others waiting."""
        return flag if self.size == 1 else _number(self._sum(mx.array(float(flag)))) > 0

    def _sum(self, values: mx.array) -> mx.array:
        # Small sums are exchanged by the CPU, whatever computes.
        return mx.distributed.all_sum(values, group=self.group, stream=mx.cpu)


def _number(array: mx.array) -> float:
    value: Any = array.item()
    return float(value)
