"""Prefill and decode with so many tokens in the KV cache, without guessing ahead."""

from __future__ import annotations

from collections.abc import Iterator

from edgelm.errors import EngineError
from edgelm.evaluate.bench.report import Case
from edgelm.evaluate.bench.rig import Rig, Sides
from edgelm.runtime.events import Usage


def measure(rig: Rig, depth: int) -> Iterator[Case]:
    """Yield the cases of decoding and of prefill behind `depth` random tokens."""
    options = rig.options
    filled = rig.tokens(depth)
    decode = rig.by_turns(_decode_sides(rig, filled))
    name = f"decode {options.new_tokens} at depth {depth:,}"
    yield Case(name, "token/s", decode["edgelm"], peer=decode.get("mlx-lm"))
    prefill = rig.by_turns(_prefill_sides(rig, filled))
    name = f"prefill {options.prompt_tokens} at depth {depth:,}"
    yield Case(name, "token/s", prefill["edgelm"], peer=prefill.get("mlx-lm"))


def _decode_sides(rig: Rig, filled: list[int]) -> Sides:
    new_tokens = rig.options.new_tokens

    def ours() -> float:
        return _measured(rig, filled, 1, new_tokens).decode_tokens_per_s

    if not rig.compares:
        return {"edgelm": ours}
    from edgelm.zoo import peer

    layers = peer.filled_cache(rig.network, filled)
    return {
        "edgelm": ours,
        "mlx-lm": lambda: peer.decode_tokens_per_s(rig.network, layers, rig.tokens(1), new_tokens),
    }


def _prefill_sides(rig: Rig, filled: list[int]) -> Sides:
    count = rig.options.prompt_tokens

    def ours() -> float:
        return _measured(rig, filled, count, 1).prefill_tokens_per_s

    if not rig.compares:
        return {"edgelm": ours}
    from edgelm.zoo import peer

    layers = peer.filled_cache(rig.network, filled)
    return {
        "edgelm": ours,
        "mlx-lm": lambda: count / peer.first_token_s(rig.network, layers, rig.tokens(count)),
    }


def _measured(rig: Rig, filled: list[int], prompt_tokens: int, new_tokens: int) -> Usage:
    """Cost of `prompt_tokens` and `new_tokens` after `filled`, which is put in the cache unmeasured."""
    if filled:
        rig.generate(filled, 1)  # the engine cuts the cache of the last repeat back where it can
    else:
        rig.engine.reset()
    usage = rig.generate(filled + rig.tokens(prompt_tokens), new_tokens).usage
    # The last token of what was put there may have to be fed again, for its logits.
    if usage.cached_tokens not in (len(filled), len(filled) - 1):
        raise EngineError(
            f"the KV cache held {usage.cached_tokens} tokens before the measured ones, expected {len(filled)}"
        )
    return usage
