"""How many requests of one model may share steps: found out on the network, and bounded by memory.

Lives on the engine thread, one for each loaded model.
"""

from __future__ import annotations

import mlx.core as mx

from edgelm import device, log
from edgelm.adapters.acting.variant import Variant
from edgelm.model.load import LoadedModel
from edgelm.pricing.batch_budget import MOST_ROWS, Budget, batch_budget_bytes
from edgelm.pricing.chunks import Chunks, chunks_for
from edgelm.pricing.fit import DEFAULT_CONTEXT_TOKENS
from edgelm.pricing.memory_plan import MemoryPlan
from edgelm.pricing.shapes import attention_heads
from edgelm.runtime.batching.batch_cache import CHUNKS
from edgelm.runtime.batching.exactness import Batching, compiles, find_batching, mixes_variants
from edgelm.zoo.caches.leaves import MakeLayers


class Sharing:
    """What a loaded model allows.

    Args:
        make_layers: makes the network's caches, of the engine's kind.
        memory: what its caches take.
        compile_steps: whether rows that stay together may have their step compiled.
    """

    def __init__(
        self, loaded: LoadedModel, make_layers: MakeLayers, memory: MemoryPlan, *, compile_steps: bool = False
    ) -> None:
        self._compile_steps = compile_steps
        self._compiles: bool | None = None
        self._loaded = loaded
        self._make_layers = make_layers
        self._memory = memory
        self._batching: Batching | None = None
        self._mixes: dict[frozenset[str], bool] = {}

    def batching(self) -> Batching:
        """Return what may be computed together; tried on the network the first time."""
        if self._memory.account.cache is None:
            return "none"
        if self._batching is None:
            self._batching = find_batching(self._loaded.network, self._make_layers, self._loaded.vocab_size)
            log.logger.info("%s computes together: %s", self._loaded.name, self._batching)
        return self._batching

    def compiles(self) -> bool:
        """Return whether the step of rows may be compiled; tried on the network the first time, if it was asked for."""
        if self._compiles is None:
            batching = self.batching() if self._compile_steps else "none"
            self._compiles = batching != "none" and compiles(
                self._loaded.network, self._make_layers, self._loaded.vocab_size, pads=batching == "prompts"
            )
            log.logger.info("%s compiles its steps: %s", self._loaded.name, self._compiles)
        return self._compiles

    def mixes(self, variant: Variant) -> bool:
        """Return whether rows of a variant may run beside others; tried the first time that adapters of its modules might."""
        paths = frozenset(path for adapter, _ in variant.acting for path in adapter.layers)
        if not paths:
            return True
        if paths not in self._mixes:
            self._mixes[paths] = self._try(variant)
            log.logger.info(
                "%s, rows under different adapters together: %s", self._loaded.name, self._mixes[paths]
            )
        return self._mixes[paths]

    def _try(self, variant: Variant) -> bool:
        loaded, pads = self._loaded, self.batching() == "prompts"
        try:
            return mixes_variants(
                loaded.network,
                loaded.adapters.acting,
                self._make_layers,
                loaded.vocab_size,
                variant,
                pads=pads,
            )
        except (
            RuntimeError,
            ValueError,
            MemoryError,
        ) as error:  # what MLX raises: nobody's answer depends on it
            log.logger.warning("rows under different adapters are computed apart: %s", error)
            return False

    def budget(self) -> Budget:
        """Return what may run together beside what MLX holds now."""
        account = self._memory.account
        assert account.cache is not None
        return Budget(MOST_ROWS, self._size_bytes(), account.cache, account.weights.float_bytes)

    def chunks(self) -> Chunks:
        """Return as for one prompt, as long as a chunk's workspace takes no more than the caches of the batch may."""
        account = self._memory.account
        if account.device.backend == "cpu":
            return CHUNKS
        chunks = chunks_for(account.device, attention_heads(account.config))
        return chunks.capped(
            self._memory.chunk_within(DEFAULT_CONTEXT_TOKENS, chunks.near, self._size_bytes())
        )

    def _size_bytes(self) -> int:
        return batch_budget_bytes(device.detect(), mx.get_active_memory())
