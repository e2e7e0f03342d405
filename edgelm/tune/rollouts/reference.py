"""Log-probabilities under the network as it was before the first step, whose trained weights are kept for that.

An adapter's first weights change nothing (a LoRA's second matrix is zero, a DoRA's magnitude that of the base), so there is
nothing to turn off, and no second model.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from edgelm.tune.batches.batcher import TrainingBatch
from edgelm.tune.step.batch_arrays import arrays_of
from edgelm.tune.step.head import find_head
from edgelm.tune.step.stepper import Stepper
from edgelm.tune.step.target_logits import MakeCaches, target_logits


class FirstWeights:
    """Scores batches by the first weights of a network that is trained.

    Args:
        stepper: before its first step, and before a checkpoint is restored.
        chunk: positions whose logits exist at once; 0 is all.
        make_caches: for packed batches.
    """

    def __init__(self, network: Any, stepper: Stepper, *, chunk: int, make_caches: MakeCaches) -> None:
        self._network, self._stepper = network, stepper
        self._first = stepper.parameters
        self._head = find_head(network) if chunk else None
        self._chunk, self._make_caches = chunk, make_caches

    def __call__(self, batch: TrainingBatch) -> npt.NDArray[np.float32]:
        """Return the log-probability of each trained target `[targets]`, in nats, in the order in which they lie."""
        arrays = arrays_of(batch)
        self._network.update(self._first)
        self._network.eval()
        try:
            logits = target_logits(self._network, self._head, arrays, self._chunk, self._make_caches)
            log_probs = logits.log_probs()
            mx.eval(log_probs)
        finally:
            self._stepper.sync()
            self._network.train()
        values: npt.NDArray[np.float32] = np.array(log_probs, np.float32)
        return values[: int(np.count_nonzero(batch.weights))]
