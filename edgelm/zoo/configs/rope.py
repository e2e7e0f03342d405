"""RoPE settings as most of mlx-lm's architectures read them: flat, as transformers 4 wrote them, beside the nested ones.

They fall back to a default base without a word where only `rope_parameters` is there, as transformers 5 writes it.
"""

from __future__ import annotations

from typing import Any

from edgelm.errors import FormatError
from edgelm.zoo.configs.sources import module_source

Config = dict[str, Any]


def flatten_rope(config: Config) -> None:
    """Add to `config`, in place, the flat keys of its `rope_parameters`.

    Raises:
        FormatError: `rope_parameters` is not an object.
    """
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
