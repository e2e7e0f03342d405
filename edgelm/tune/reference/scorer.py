"""Log-probabilities of a batch's targets under a network that is not trained.

The network is the base as it was loaded, before adapters are put into it: there is nothing to turn off, whatever kind they will
be of, and never a second model.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgelm.tune.batches.batcher import TrainingBatch
from edgelm.tune.step.batch_arrays import arrays_of
from edgelm.tune.step.head import find_head
from edgelm.tune.step.target_logits import MakeCaches, target_logits


class Scorer:
    """A frozen network that says how likely targets are.

    Args:
        network: the base; it is frozen and put into evaluation mode.
        chunk: positions whose logits exist at once; 0 is all.
        make_caches: for packed batches.
    """

    def __init__(self, network: Any, *, chunk: int, make_caches: MakeCaches | None = None) -> None:
        network.freeze()
        network.eval()
        self._network = network
        self._chunk = chunk
        self._head = find_head(network) if chunk else None
        self._make_caches = make_caches

    def log_probs(self, batch: TrainingBatch) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return the log-probability of each trained target, in nats, in the order in which they lie."""
        arrays = arrays_of(batch)
        logits = target_logits(self._network, self._head, arrays, self._chunk, self._make_caches)
        values = np.array(logits.log_probs(), np.float32)
        return values[: int(np.count_nonzero(batch.weights))]
