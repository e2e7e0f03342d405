"""Sliding windows that a config asks for, where mlx-lm's architecture attends to everything.

mlx-lm runs Mistral, Phi-3, StarCoder2, Gemma 2 and others with full attention in every layer: right up to the window, wrong
beyond without a word. Which layers look back how far is what transformers makes of the config; each of them gets its own
mask, and the network the caches that go with it. Only modules of the network at hand are changed. Source: transformers 5.24,
masking_utils.py `sliding_window_overlay` (a token sees itself and the window - 1 before it), and the `forward` of the models.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from edgelm.zoo.configs.defaults import completed
from edgelm.zoo.configs.sources import module_source
from edgelm.zoo.fixes.classes import derived

Config = Mapping[str, Any]

EVERY_LAYER = frozenset({"ministral3", "mistral", "mixtral", "phi3", "phimoe", "qwen3_moe", "starcoder2"})
"""Types of text models whose `forward` in transformers gives all layers the window, if there is one."""

BY_LAYER = frozenset(
    {"dots1", "gemma2", "qwen2", "qwen2_moe", "qwen2_vl_text", "qwen2_5_vl_text", "qwen3", "smollm3"}
)
"""Types where `layer_types` says which layers have it."""

_WINDOWED = "sliding_attention"


def windows_of(config: Config) -> list[int | None] | None:
    """Return the window of every layer in tokens, None for one that attends to everything; None if edgelm has nothing to add.

    Args:
        config: normalised.
    """
    text = config.get("text_config")
    part = text if isinstance(text, dict) else config
    kind = str(part.get("model_type") or config["model_type"])
    if kind not in EVERY_LAYER | BY_LAYER or _reads_windows(kind, part):
        return None
    full = completed({**part, "model_type": kind})
    window, layers = full.get("sliding_window"), full.get("num_hidden_layers")
    if (
        not isinstance(window, int)
        or not isinstance(layers, int)
        or window <= 0
        or _is_never_left(window, full)
    ):
        return None
    if kind in EVERY_LAYER:
        return [window] * layers
    kinds = full.get("layer_types") or []
    found = [window if name == _WINDOWED else None for name in kinds]
    return found if any(found) else None


def _reads_windows(kind: str, part: Config) -> bool:
    """Whether mlx-lm's own code does it. Its llama, which runs Mistral, goes by `layer_types` alone."""
    source = module_source(kind)
    return "sliding_window" in source and (
        kind not in EVERY_LAYER or _WINDOWED in (part.get("layer_types") or ())
    )


def _is_never_left(window: int, full: Config) -> bool:
    context = full.get("max_position_embeddings")
    return isinstance(context, int) and context <= window


def use_named_windows(network: Any, config: Config) -> None:
    """Give the layers of `network`, in place, the windows that `config` asks for and its code does not have."""
    if config.get("model_type") == "mimo_v2_flash":
        _look_back_further(network)
    windows = windows_of(config)
    if windows is None or len(windows) != len(network.layers):
        return
    for layer, window in zip(network.layers, windows, strict=True):
        layer.__class__ = _with_window(type(layer), window)
    network.__class__ = derived(type(network), make_cache=lambda _: _caches(windows))


def _look_back_further(network: Any) -> None:
    """MiMo V2 Flash's `sliding_window_size` counts the tokens before the one that looks back; mlx-lm counts that one too.

    Source: transformers 5.24, configuration_mimo_v2_flash.py, after the authors' SGLang.
    """
    network.args.sliding_window_size += 1
    network.model.sliding_window_size = network.args.sliding_window_size


def _caches(windows: list[int | None]) -> list[Any]:
    from mlx_lm.models.cache import KVCache, RotatingKVCache

    return [KVCache() if window is None else RotatingKVCache(max_size=window) for window in windows]


def _with_window(kind: type, window: int | None) -> type:
    """`kind`, a decoder layer called with x and, among others, `mask` and `cache`, which makes the mask of its own window."""
    from mlx_lm.models.base import create_attention_mask

    call: Any = kind.__call__
    names = list(inspect.signature(call).parameters)[2:]

    def windowed(self: Any, x: Any, *others: Any, **named: Any) -> Any:
        given = {**dict(zip(names, others, strict=False)), **named}
        mask, cache = given.get("mask"), given.get("cache")
        is_array = mask is not None and not isinstance(mask, str)
        given["mask"] = create_attention_mask(x, cache, window_size=window, return_array=is_array)
        return call(self, x, **given)

    return derived(kind, __call__=windowed)
