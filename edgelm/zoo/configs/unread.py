"""Settings that transformers computes by and mlx-lm's architecture never looks at: refused by name.

A conversion compared with edgelm's own reading of the source cannot notice them. A setting counts where the config has it at
another value than transformers' class would give it, transformers' code for the architecture reads it, and neither mlx-lm's
code nor a fix of edgelm's does. Settings inside others (`rope_parameters.beta_fast`, `attn_config.clip_qkv`) are looked at one
by one. All of it is asked of the two libraries' sources; only what is harmless is written down (`harmless.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from edgelm import log
from edgelm.errors import UnsupportedError
from edgelm.zoo.configs.defaults import completed
from edgelm.zoo.configs.harmless import HARMLESS
from edgelm.zoo.configs.readers import mlx_lm_reads, reads_old_form, transformers_reads
from edgelm.zoo.configs.sources import SAME_CLASS

Config = Mapping[str, Any]
IsHonoured = Callable[[Config, tuple[str, ...], Any], bool]

SHOWN = 4
"""Settings in one message."""

NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "attn_logit_softcapping": (None, 0), "final_logit_softcapping": (None, 0), "clip_qkv": (None,), "logit_scale": (None, 1),
    "logits_scaling": (None, 1), "embedding_multiplier": (None, 1), "residual_multiplier": (None, 1),
    "attention_multiplier": (None,), "alibi": (None, False), "scale_embedding": (None, False), "attention_sink": (None, False),
    "num_kv_shared_layers": (None, 0), "attention_chunk_size": (None,),
}  # fmt: skip
"""Settings of architectures that transformers has no code for → values under which they change nothing."""

_OTHER_FORMS: Mapping[str, tuple[str, ...]] = {
    "rope_parameters": (
        "rope_scaling",
        "rope_theta",
        "rope_local_base_freq",
        "partial_rotary_factor",
        "rotary_pct",
    ),
}
"""Setting → keys that say the same in a config of transformers 4."""


def check_settings_are_read(config: Config, is_honoured: IsHonoured) -> None:
    """Refuse a normalised config with a setting that would be passed over.

    Args:
        is_honoured: says of config, path and value whether a fix of edgelm's computes by it.

    Raises:
        UnsupportedError: naming key, value and architecture.
    """
    found = unread_settings(config, is_honoured)
    if not found:
        return
    shown = ", ".join(f"{path} {_short(value)}" for path, value in list(found.items())[:SHOWN])
    more = f" and {len(found) - SHOWN} more settings" if len(found) > SHOWN else ""
    raise UnsupportedError(
        f"the config says {shown}{more}, which mlx-lm's {config['model_type']} never reads: it would compute something else",
        hint="run the model with transformers, or look for a release that mlx-lm's authors converted",
    )


def unread_settings(config: Config, is_honoured: IsHonoured) -> dict[str, Any]:
    """Return the settings of a normalised config that would be passed over, by their path."""
    text = config.get("text_config")
    part, prefix = (text, "text_config.") if isinstance(text, dict) else (config, "")
    kind = str(part.get("model_type") or config.get("model_type"))
    found = _unread(kind, part, config, is_honoured) if _has_class(kind) else _suspicious(part, config)
    return {prefix + path: value for path, value in found.items()}


def _has_class(kind: str) -> bool:
    log.silence_known()
    from transformers import CONFIG_MAPPING

    return SAME_CLASS.get(kind, kind) in CONFIG_MAPPING


def _unread(kind: str, part: Config, config: Config, is_honoured: IsHonoured) -> dict[str, Any]:
    full = completed(dict(part) | {"model_type": kind})
    if not full:  # broken: building the network says how
        return {}
    usual = completed({"model_type": kind})
    found: dict[str, Any] = {}
    derived: dict[str, Config] = {}
    for path, value in _differing(full, usual):
        name, leaf = path[0], path[-1]
        if leaf in HARMLESS or name in HARMLESS or not _is_said(part, name) or _is_usual(full, leaf, value):
            continue
        if leaf == "sliding_window_pattern" and part.get(
            "layer_types"
        ):  # which says it by layer, and is what is read
            continue
        if not transformers_reads(kind, path) or mlx_lm_reads(config, kind, path, value):
            continue
        if is_honoured(config, path, value) or reads_old_form(config, kind, part, name, full):
            continue
        if name not in derived:
            derived[name] = completed(_without(part, name) | {"model_type": kind})
        if _at(derived[name], path) != value:
            found[".".join(path)] = value
    return found


def _differing(
    full: Config, usual: Config, above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Settings, and those inside others, with another value than usual; nothing and no are the same."""
    for name, value in full.items():
        if not above and name not in usual:  # a key that the class does not know, and keeps
            continue
        other = usual.get(name)
        path = (*above, name)
        if isinstance(value, dict) and name != "quantization_config":
            yield from _differing(value, other if isinstance(other, dict) else {}, path)
        elif value != other and (value or other):
            yield path, value


def _is_usual(full: Config, leaf: str, value: Any) -> bool:
    """Whether a network that does not know the setting computes as it says."""
    if leaf == "head_dim":
        heads = full.get("num_attention_heads") or 1
        return value in (full.get("qk_rope_head_dim"), (full.get("hidden_size") or 0) // heads)
    context = full.get("max_position_embeddings")
    return leaf == "sliding_window" and (value is None or (isinstance(context, int) and context <= value))


def _is_said(part: Config, name: str) -> bool:
    from transformers import CONFIG_MAPPING

    aliases = getattr(CONFIG_MAPPING.get(str(part.get("model_type"))), "attribute_map", None) or {}
    others = {alias for alias, own in aliases.items() if own == name}
    return any(key in part for key in (name, *others, *_OTHER_FORMS.get(name, ())))


def _without(part: Config, name: str) -> dict[str, Any]:
    left_out = {name, *_OTHER_FORMS.get(name, ())}
    return {key: value for key, value in part.items() if key not in left_out}


def _at(config: Config, path: tuple[str, ...]) -> Any:
    value: Any = config
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _suspicious(part: Config, config: Config) -> dict[str, Any]:
    """What is known of settings by their names alone, where transformers has no class to ask."""
    kind = str(config.get("model_type"))
    return {
        name: part[name]
        for name, neutral in NEUTRAL.items()
        if name in part and part[name] not in neutral and not mlx_lm_reads(config, kind, (name,), part[name])
    }


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:60]}…"
