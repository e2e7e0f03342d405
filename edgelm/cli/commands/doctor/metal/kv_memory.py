"""What a prompt takes with a quantized KV cache, against what was planned for it: one number too low, and a Mac swaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import mlx.core as mx

from edgelm.errors import UnsupportedError
from edgelm.units import format_bytes

KINDS = (None, 8, 4)
_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class CachePeak:
    """One kind of cache."""

    kv_bits: int | None
    tokens: int
    chunk: int
    planned_bytes: int
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class CachePeaks:
    """Every kind that was tried."""

    peaks: tuple[CachePeak, ...]
    refused: tuple[str, ...] = ()
    """Kinds that this architecture cannot have, and why."""

    def table(self) -> list[list[str]]:
        """Return a header and a row for each kind of cache."""
        rows = [
            [
                str(found.kv_bits or "none"), f"{found.tokens:,}", format_bytes(found.planned_bytes),
                format_bytes(found.peak_bytes), f"{found.peak_bytes / found.planned_bytes:.2f}",
            ]
            for found in self.peaks
        ]  # fmt: skip
        rows += [[reason, "", "", "", ""] for reason in self.refused]
        return [["--kv-bits", "tokens", "planned", "peak", "peak/planned"], *rows]


def measure_kv_memory(
    directory: Path, kinds: Sequence[int | None] = KINDS, tokens: int = _TOKENS
) -> CachePeaks:
    """Compute a prompt of `tokens`, or as many as the model's context has room for, with each kind of cache.

    Raises:
        FitError: it is refused.
    """
    peaks, refused = [], []
    for bits in kinds:
        try:
            peaks.append(_peak(directory, bits, tokens))
        except UnsupportedError as error:
            refused.append(f"{bits}: {error.message}")
    return CachePeaks(tuple(peaks), tuple(refused))


def _peak(directory: Path, kv_bits: int | None, tokens: int) -> CachePeak:
    from edgelm import device
    from edgelm.pricing.fit import account_of, trace
    from edgelm.pricing.memory_plan import MemoryPlan
    from edgelm.runtime.assemble import RuntimeOptions, assemble
    from edgelm.runtime.requests import Request
    from edgelm.zoo.caches.settings import CacheSettings
    from edgelm.zoo.weights.files import read_headers

    settings = CacheSettings(kv_bits=kv_bits)
    ready = assemble(directory, RuntimeOptions(cache=settings))
    config, context = ready.loaded.config, ready.loaded.context_length
    count = tokens if context is None else min(tokens, context - 2)
    account = account_of(read_headers(directory), trace(config, directory), config, device.detect())
    plan = MemoryPlan(account, settings)
    chunk = plan.chunk_for(count, _chunk(config, count))
    prompt = [1 + index % (ready.loaded.vocab_size - 1) for index in range(count)]
    mx.clear_cache()
    for _ in ready.engine.generate(Request(prompt, max_tokens=1, speculation=False), Event()):
        pass
    found = CachePeak(kv_bits, count, chunk, plan.need_bytes(count, chunk), mx.get_peak_memory())
    ready.engine.reset()
    return found


def _chunk(config: dict[str, object], tokens: int) -> int:
    """Return how many of `tokens` the engine reads at once."""
    from edgelm import device
    from edgelm.pricing.chunks import chunks_for
    from edgelm.pricing.shapes import attention_heads

    return chunks_for(device.detect(), attention_heads(config)).at(tokens)
