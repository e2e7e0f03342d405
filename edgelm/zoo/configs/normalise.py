"""`config.json`, read and made unambiguous for mlx-lm.

transformers 5 writes RoPE settings nested in `rope_parameters`; most of mlx-lm's models read only the
flat keys of transformers 4 and fall back to a default base without a word. `normalise_config` writes
the flat keys beside the nested ones; `check_architecture` refuses what mlx-lm cannot run at all.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from edgelm.errors import FormatError
from edgelm.json_files import read_json
from edgelm.zoo.configs.defaults import fill_defaults
from edgelm.zoo.configs.sources import ALIASES, module_source

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
        flat["model_type"] = ALIASES.get(flat["model_type"], flat["model_type"])
    _fill_width(flat)
    _raise_vocabulary(flat)
    for part in (flat, flat.get("text_config")):
        if isinstance(part, dict):
            _flatten_rope(part)
            _restore_sliding_pattern(part)
            _restore_global_heads(part)
            _restore_old_keys(part)
            for new, old in RENAMED.items():
                if new in part:
                    part.setdefault(old, part[new])
            if "architectures" in flat:  # published by transformers, whose defaults it counts on
                fill_defaults(part, str(flat.get("model_type")))
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


def _fill_width(config: Config) -> None:
    """GPT-2 and its kin leave the width of the feed-forward layers out where it is 4 x hidden; mlx-lm asks for it."""
    width = config.get("n_embd")
    if "n_inner" in config and config["n_inner"] is None and isinstance(width, int):
        config["n_inner"] = 4 * width


def _flatten_rope(config: Config) -> None:
    rope = config.get("rope_parameters")
    if rope is None:
        return
    if not isinstance(rope, dict):
        raise FormatError(f"rope_parameters is {rope!r}, expected an object")
    full = rope.get("full_attention")
    sliding = rope.get("sliding_attention")
    if isinstance(full, dict) or isinstance(sliding, dict):
        if _reads_nested_rope(config.get("model_type")):
            return
        if isinstance(sliding, dict) and "rope_theta" in sliding:
            config["rope_local_base_freq"] = sliding["rope_theta"]
        rope = full if isinstance(full, dict) else sliding
        assert isinstance(rope, dict)
    _write_flat_keys(config, rope)


def _reads_nested_rope(model_type: object) -> bool:
    """Whether mlx-lm's module wants `rope_parameters` alone.

    Flat keys beside them would be read by transformers, which makes a `rope_scaling` the parameters of every layer.
    """
    source = module_source(model_type)
    return "rope_parameters" in source and "rope_scaling" not in source


def _write_flat_keys(config: Config, rope: Config) -> None:
    if rope.get("rope_theta") is not None:
        config["rope_theta"] = rope["rope_theta"]
    if rope.get("partial_rotary_factor") is not None:
        config["partial_rotary_factor"] = rope["partial_rotary_factor"]
    if config["model_type"] == "gpt_neox":
        # The one architecture whose flat keys had names of their own.
        config["rotary_emb_base"] = rope.get("rope_theta", config.get("rotary_emb_base", 10000))
        config["rotary_pct"] = rope.get("partial_rotary_factor", config.get("rotary_pct", 0.25))
    kind = rope.get("rope_type", rope.get("type", "default"))
    scaling = {k: v for k, v in rope.items() if k not in ("rope_theta", "partial_rotary_factor")}
    if kind != "default":
        # mlx-lm's files disagree on the name of the kind, so it is given both.
        config["rope_scaling"] = {**scaling, "type": kind, "rope_type": kind}
    elif "mrope_section" not in scaling:
        config.pop("rope_scaling", None)


def _restore_sliding_pattern(config: Config) -> None:
    """transformers 5 lists `layer_types`; Gemma 3 and its kin in mlx-lm ask for their period."""
    kinds = config.get("layer_types")
    if "sliding_window_pattern" in config or not isinstance(kinds, list) or "full_attention" not in kinds:
        return
    if "sliding_attention" in kinds:
        period = kinds.index("full_attention") + 1
        expected = [
            "full_attention" if (i + 1) % period == 0 else "sliding_attention" for i in range(len(kinds))
        ]
        if kinds == expected:
            config["sliding_window_pattern"] = period


def _restore_old_keys(config: Config) -> None:
    """What transformers 5 no longer writes, or writes in another form, and mlx-lm asks for."""
    kind = str(config.get("model_type"))
    if kind.startswith("lfm2") and "hidden_size" in config:
        config.setdefault("block_dim", config["hidden_size"])
    if kind == "gpt2" and "n_positions" in config:
        config.setdefault("n_ctx", config["n_positions"])
    period = config.get("sliding_window_pattern")
    if kind == "exaone4" and isinstance(period, int) and 0 < period <= MAX_LAYERS:
        config["sliding_window_pattern"] = "L" * (period - 1) + "G"


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
