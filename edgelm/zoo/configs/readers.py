"""Whether a library's code for an architecture looks at a setting: asked of its source, which is not run.

A name counts as read where the source takes it from an object (`.name`) or by its text (`"name"`); the fields that a dataclass
declares are neither.
"""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgelm.zoo.configs.old_keys import aliases, old_forms
from edgelm.zoo.configs.sources import SAME_CLASS, module_source, siblings, without_checks

Config = Mapping[str, Any]
KeyPath = tuple[str, ...]

_ROPE_KEYS = frozenset({
    "attention_factor", "beta_fast", "beta_slow", "factor", "high_freq_factor", "long_factor", "low_freq_factor", "mscale",
    "mscale_all_dim", "original_max_position_embeddings", "rope_theta", "rope_type", "short_factor", "truncate",
})  # fmt: skip
"""Read by transformers' modeling_rope_utils.py, which every architecture with RoPE calls."""

_ROPE_CLASSES = {"yarn": "Yarn", "longrope": "SuScaledRoPE", "llama3": "Llama3RoPE"}
"""Kind of scaling → what classes of mlx-lm that do nothing else are called."""

_SCALING = re.compile(r"\.rope_(?:scaling|parameters)\b|['\"]rope_(?:scaling|parameters)['\"]")

_BY_MASKS = {
    "sliding_window": "create_sliding_window_causal_mask",
    "attention_chunk_size": "create_chunked_causal_mask",
}
"""Settings that transformers' masking_utils.py reads → the function through which an architecture asks for it."""

_RESTORED = {
    "num_local_experts": ("num_experts",),
    "num_experts": ("num_local_experts",),
    "dtype": ("torch_dtype",),
}
"""Settings that `normalise_config` writes under a second name too."""


def transformers_reads(kind: str, path: KeyPath) -> bool:
    """Return whether transformers' code for a `model_type` that it has computes by the setting at `path`."""
    source, leaf = _modeling(kind), path[-1]
    if "rope_parameters" in path:
        reads_share = "partial_rotary_factor" in source
        return "rope_parameters" in source and (
            leaf in _ROPE_KEYS or (leaf == "partial_rotary_factor" and reads_share)
        )
    names = {leaf} | _aliases(kind, leaf)
    return _BY_MASKS.get(leaf, "\0") in source or any(
        re.search(rf"config[\w.]*\.{name}\b|[\[(]['\"]{name}['\"]|config, ['\"]{name}['\"]", source)
        for name in names
    )


def mlx_lm_reads(config: Config, kind: str, path: KeyPath, value: Any) -> bool:
    """Return whether mlx-lm's code looks at the setting at `path`, which has `value`, of a normalised config.

    Args:
        kind: `model_type` of the text model.
    """
    source, leaf = mlx_lm_source(str(config.get("model_type")), kind), path[-1]
    if leaf == "rope_type":
        return _knows_rope(str(config.get("model_type")), kind, str(value))
    if leaf == "rope_theta" and "sliding_attention" in path:
        return _mentions(source, "rope_local_base_freq") or _mentions(source, "rope_parameters")
    names = {leaf, *_RESTORED.get(leaf, ())} | _aliases(kind, leaf)
    return any(_mentions(source, name) for name in names)


def reads_old_form(config: Config, kind: str, part: Config, name: str, full: Config) -> bool:
    """Return whether `part` says the setting `name` in an older form as well, which mlx-lm's code looks at.

    Args:
        full: `part` as transformers completes it.
    """
    same = old_forms(kind, full, part).get(name)
    if not same:
        return False
    source = mlx_lm_source(str(config.get("model_type")), kind)
    return any(_mentions(source, key) for key in same) and all(
        part.get(key) == value for key, value in same.items() if _mentions(source, key)
    )


def reads_scaling(outer: str, inner: str) -> bool:
    """Return whether mlx-lm's code for an architecture and its text model computes with the scaling of RoPE in a config."""
    return _SCALING.search(without_checks(mlx_lm_source(outer, inner))) is not None


def _knows_rope(outer: str, inner: str, kind: str) -> bool:
    """Whether an architecture asks mlx-lm's `rope_utils` for whatever kind is named, or names the kind itself."""
    texts = dict(_texts(outer, inner))
    shared = texts.pop("rope_utils", "")
    own = without_checks("".join(texts.values()))
    if "initialize_rope" in own and f'"{kind}"' in shared:
        has_length = kind != "dynamic" or _mentions(own, "max_position_embeddings")
        return has_length and reads_scaling(outer, inner)
    return f'"{kind}"' in own or _ROPE_CLASSES.get(kind, "\0") in own


def mlx_lm_source(outer: str, inner: str) -> str:
    """Return the text of mlx-lm's modules for an architecture and its text model, with all that they import of each other."""
    return "".join(_texts(outer, inner).values())


@functools.lru_cache(maxsize=32)
def _texts(outer: str, inner: str) -> Mapping[str, str]:
    texts: dict[str, str] = {}
    names = [outer, inner]
    while names:
        name = names.pop()
        if name not in texts:
            texts[name] = module_source(name)
            names += siblings(texts[name])
    return texts


def _mentions(source: str, name: str) -> bool:
    return re.search(rf"\.{name}\b|['\"]{name}['\"]", source) is not None


def _aliases(kind: str, name: str) -> set[str]:
    """Other names by which transformers' class for `kind` gives the same setting."""
    return {other for pair in aliases(kind) if name in pair for other in pair} - {name}


@functools.lru_cache(maxsize=32)
def _modeling(kind: str) -> str:
    """The text of transformers' code for a `model_type`, empty if it has none."""
    from transformers import CONFIG_MAPPING

    module = CONFIG_MAPPING[SAME_CLASS.get(kind, kind)].__module__
    name = module.rpartition(".")[2]
    if not name.startswith("configuration_"):
        return ""
    spec = importlib.util.find_spec(
        f"{module.rpartition('.')[0]}.modeling_{name.removeprefix('configuration_')}"
    )
    if spec is None or spec.origin is None:
        return ""
    return Path(spec.origin).read_text(encoding="utf-8")
