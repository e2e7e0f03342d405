"""An engine on the network that is being trained: many answers share steps, as far as the architecture and memory allow."""

from __future__ import annotations

from edgelm import device as devices
from edgelm.model.load import LoadedModel
from edgelm.pricing.chunks import chunks_for
from edgelm.pricing.fit import account_of, trace
from edgelm.pricing.memory_plan import MemoryPlan
from edgelm.pricing.shapes import attention_heads
from edgelm.runtime.batching.sharing import Sharing
from edgelm.runtime.engine import Engine, caches_of
from edgelm.zoo.caches.settings import CacheSettings
from edgelm.zoo.weights.files import read_headers


def rollout_engine(loaded: LoadedModel) -> Engine:
    """Make the engine; it keeps what it computed of prompts until `reset`."""
    machine, kind = devices.detect(), CacheSettings()
    account = account_of(
        read_headers(loaded.directory), trace(loaded.config, loaded.directory), loaded.config, machine
    )
    make_layers = caches_of(loaded.network, kind)
    return Engine(
        loaded.network,
        vocab_size=loaded.vocab_size,
        context_length=loaded.context_length,
        prefill_chunk=chunks_for(machine, attention_heads(loaded.config)),
        sharing=Sharing(loaded, make_layers, MemoryPlan(account, kind, None)),
    )
