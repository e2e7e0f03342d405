"""`config.json`, read and made unambiguous for mlx-lm.

A text model that mlx-lm has only within its wrapper is put into one (`wrappers.py`), RoPE settings are written flat
(`rope.py`), what transformers 5 renamed or dropped is restored (`old_keys.py`), and what was left out because it is
transformers' default is filled in (`defaults.py`). What was normalised once comes out as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgelm.errors import FormatError
from edgelm.json_files import read_json
from edgelm.zoo.configs.defaults import completed, fill_defaults, wanted_settings
from edgelm.zoo.configs.old_keys import restore_old_keys
from edgelm.zoo.configs.rope import flatten_rope
from edgelm.zoo.configs.wrappers import own_architecture

Config = dict[str, Any]

RENAMED = {"dtype": "torch_dtype", "num_local_experts": "num_experts"}
"""Keys of transformers 5 → the names that mlx-lm reads."""

GLOBAL_HEADS = {"head_dim": "global_head_dim", "num_key_value_heads": "num_global_key_value_heads"}
"""What layers of full attention may have of their own → the names that mlx-lm reads."""

MAX_LAYERS = 2000
"""The deepest published models have about 130. Networks are built before any weight is looked at, and a
config that says a billion would fill the memory with modules."""


def read_config(directory: Path) -> Config:
    """Read `config.json` of a model directory, as published; `model_type` is sure to be a string.

    Raises:
        NotFoundError: there is no config.json.
        FormatError: it is not a JSON object or names no model_type.
    """
    config = read_json(directory / "config.json")
    if not isinstance(config.get("model_type"), str):
        raise FormatError(
            f"{directory / 'config.json'} has model_type {config.get('model_type')!r}, expected a name"
        )
    return config


def context_length(config: Config) -> int | None:
    """Return the tokens that the model was trained for; None if the config does not say."""
    nested = config.get("text_config")
    text = nested if isinstance(nested, dict) else config
    for name in ("max_position_embeddings", "n_positions", "max_sequence_length"):
        if isinstance(text.get(name), int):
            return int(text[name])
    return None


def normalise_config(config: Config) -> Config:
    """Return a copy of `config` with the keys that mlx-lm reads added, in nested text configs too.

    `rope_parameters` wins over flat keys, as in transformers 5. Per-layer-type parameters become
    `rope_theta` (full attention) and `rope_local_base_freq` (sliding attention), unless mlx-lm reads them as they are.

    Raises:
        FormatError: `rope_parameters` is not an object.
    """
    flat: Config = _with_infinities(copy.deepcopy(config))
    if isinstance(flat.get("model_type"), str):
        flat = own_architecture(flat)
    outer = str(flat.get("model_type"))
    _raise_vocabulary(flat)
    for part in (flat, flat.get("text_config")):
        if isinstance(part, dict):
            flatten_rope(part)
            _restore_global_heads(part)
            for new, old in RENAMED.items():
                if new in part:
                    part.setdefault(old, part[new])
            wanted = wanted_settings(part, outer)
            _fill_width(part, wanted)
            restore_old_keys(part, completed(part) or part, wanted)
            if "architectures" in flat:  # published by transformers, whose defaults it counts on
                fill_defaults(part, wanted, outer)
    return flat


def _with_infinities(value: Any) -> Any:
    """transformers 5 writes {"__float__": "Infinity"}, since JSON has no word for it."""
    if isinstance(value, dict):
        if value.keys() == {"__float__"} and value["__float__"] in ("Infinity", "-Infinity", "NaN"):
            return float(value["__float__"])
        return {key: _with_infinities(item) for key, item in value.items()}
    return [_with_infinities(item) for item in value] if isinstance(value, list) else value


def _raise_vocabulary(config: Config) -> None:
    """mlx-lm's Gemma wrappers overwrite the text model's vocabulary by an outer one, which transformers does not have."""
    text = config.get("text_config")
    if isinstance(text, dict) and isinstance(text.get("vocab_size"), int):
        config["vocab_size"] = text["vocab_size"]


def _fill_width(config: Config, wanted: Mapping[str, Any]) -> None:
    """GPT-2's kin leave the width of the feed-forward layers out where it is 4 x hidden; mlx-lm may ask for it."""
    width = config.get("n_embd")
    if "n_inner" in wanted and config.get("n_inner") is None and isinstance(width, int):
        config["n_inner"] = 4 * width


def _restore_global_heads(config: Config) -> None:
    """transformers 5.24 says by layer what differs in Gemma 4's full attention; mlx-lm asks for it once."""
    by_layer = config.get("per_layer_config")
    if not isinstance(by_layer, dict):
        return
    said = list(by_layer.values())
    if said and isinstance(said[0], dict) and all(other == said[0] for other in said):
        for name, once in GLOBAL_HEADS.items():
            if name in said[0]:
                config.setdefault(once, said[0][name])
