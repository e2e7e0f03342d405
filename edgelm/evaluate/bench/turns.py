"""The next turn of a long chat: seconds to its first token from the cache in memory, from the disk, and without."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgelm.errors import EngineError
from edgelm.evaluate.bench.report import Case
from edgelm.evaluate.bench.rig import Rig, Sides
from edgelm.runtime.cache.disk import DiskCache
from edgelm.runtime.cache.pool import Pool
from edgelm.runtime.engine import Engine

SAID_TOKENS = 32
"""What the new turn adds to the history."""

_LOST_TOKENS = 40
"""Tokens at the history's end that may be lost where a cache cannot be cut back to just any length."""


SHORTEST_HISTORY = 64
"""Tokens; of less it cannot be told whether they were cached."""


def history_within(wanted: int, context_length: int | None) -> int:
    """Return the tokens of history that leave room for the turn."""
    return wanted if context_length is None else min(wanted, context_length - SAID_TOKENS - 2)


def measure(rig: Rig, history_tokens: int) -> Iterator[Case]:
    """Yield the case of a turn after `history_tokens` random tokens."""
    history = rig.tokens(history_tokens)
    with tempfile.TemporaryDirectory() as root:
        spreads = rig.by_turns(_sides(rig, history, Path(root)))
    again, peer = spreads["computed again"], spreads.get("mlx-lm")
    for name, side in (("next turn", "memory"), ("reopened chat", "disk")):
        yield Case(
            f"first token of {name}, {history_tokens:,} + {SAID_TOKENS} tokens",
            "s",
            spreads[side],
            without=again,
            without_what="computed again",
            peer=peer,
        )


def _sides(rig: Rig, history: list[int], root: Path) -> Sides:
    on_disk = _engine(rig, root)
    rig.generate(history, 1, engine=on_disk)
    on_disk.persist()
    on_disk.reset()

    def turn(engine: Engine, *, is_cached: bool) -> float:
        usage = rig.generate(history + rig.tokens(SAID_TOKENS), 1, engine=engine).usage
        if is_cached != (usage.cached_tokens >= len(history) - _LOST_TOKENS):
            raise EngineError(f"{usage.cached_tokens} of {len(history)} tokens of history were cached")
        return usage.first_token_s

    def memory() -> float:
        rig.generate(history, 1)
        return turn(rig.engine, is_cached=True)

    def again() -> float:
        rig.engine.reset()
        return turn(rig.engine, is_cached=False)

    def disk() -> float:
        return turn(_engine(rig, root), is_cached=True)

    sides = {"memory": memory, "disk": disk, "computed again": again}
    if not rig.compares:
        return sides
    from edgelm.zoo import peer

    empty = peer.filled_cache(rig.network, [])
    return {
        **sides,
        "mlx-lm": lambda: peer.first_token_s(rig.network, empty, history + rig.tokens(SAID_TOKENS)),
    }


def _engine(rig: Rig, root: Path) -> Engine:
    """Start an engine as a new process does: nothing is in memory, what was written is on the disk."""
    from edgelm.zoo.caches.maker import layer_maker

    loaded = rig.ready.loaded
    disk = DiskCache(root, "bench", budget_bytes=1 << 62, smallest=1)
    pool = Pool(layer_maker(loaded.network), budget_bytes=1 << 62, disk=disk)
    return Engine(
        loaded.network, vocab_size=loaded.vocab_size, context_length=loaded.context_length, pool=pool
    )
