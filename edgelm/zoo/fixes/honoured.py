"""Settings that mlx-lm's code passes over and a fix of edgelm's puts right: asked of the fixes' own source.

A fix for some architectures names them and the settings it goes by; those that go by a setting whatever the architecture are
known here.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgelm.zoo.configs.readers import reads_scaling
from edgelm.zoo.fixes.peers import activation_keys, modeling_source
from edgelm.zoo.fixes.window import BY_LAYER, EVERY_LAYER

Config = Mapping[str, Any]

_WINDOWS = frozenset({"layer_types", "max_window_layers", "sliding_window", "use_sliding_window"})
_OWN_ACTIVATIONS = frozenset({"gemma3n_text", "recurrent_gemma"})
"""Types whose networks have activations, wired in, that `use_named_activation` does not reach."""

_ALSO_MIXED = re.compile(r"self\.activation = config\.hidden_act")
"""Recurrent layers that go by the same setting in transformers."""

_YARN = frozenset({"attention_factor", "mscale", "mscale_all_dim", "truncate"})


def is_honoured(config: Config, path: tuple[str, ...], value: Any) -> bool:
    """Return whether a fix computes by the setting at `path` of a normalised config, which has `value`."""
    text = config.get("text_config")
    part = text if isinstance(text, dict) else config
    kind, leaf = str(part.get("model_type") or config.get("model_type")), path[-1]
    if leaf in _WINDOWS and kind in EVERY_LAYER | BY_LAYER:
        return True
    if leaf in activation_keys(kind):
        return kind not in _OWN_ACTIVATIONS and _ALSO_MIXED.search(modeling_source(kind)) is None
    if leaf in _YARN or leaf == "partial_rotary_factor":
        return True
    if "rope_parameters" in path:
        is_scaled = not reads_scaling(
            str(config.get("model_type")), kind
        )  # or `use_unread_scaling` refuses it
        return is_scaled or (leaf == "rope_theta" and (len(path) > 2 or kind == "recurrent_gemma"))
    return any(f'"{kind}"' in source and re.search(rf'"{leaf}"|\.{leaf}\b', source) for source in _sources())


@functools.cache
def _sources() -> tuple[str, ...]:
    here = Path(__file__).parent
    return tuple(
        path.read_text(encoding="utf-8") for path in here.rglob("*.py") if path.name != "honoured.py"
    )
