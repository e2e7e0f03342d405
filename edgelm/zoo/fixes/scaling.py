"""RoPE as the config scales it, where mlx-lm's architecture never looks: other bases and every kind of scaling.

Upstream: mlx_lm 0.32.2. models/qwen3_moe.py and others build `nn.RoPE` without scaling, so the documented YaRN of Qwen3's
experts is lost; models/olmo3.py has one base for two kinds of layers, models/recurrent_gemma.py none but 10,000.
Source: transformers 5.24, modeling_rope_utils.py, whose functions every
rotary embedding calls that names `ROPE_INIT_FUNCTIONS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlx.nn as nn
from mlx.utils import tree_unflatten

from edgelm.errors import UnsupportedError
from edgelm.zoo.configs.check import check_rope_is_read
from edgelm.zoo.fixes.peers import modeling_source

_KINDS = ("linear", "llama3", "yarn", "longrope")
_PLAIN = ("default", "linear")


def use_unread_scaling(network: Any, config: dict[str, Any]) -> None:
    """Scale, in place, the RoPE of a `network` whose code never looks at the scaling of a normalised `config`.

    Raises:
        UnsupportedError: it cannot be scaled that way.
    """
    try:
        check_rope_is_read(config)
    except UnsupportedError:
        if not _scaled(network, config):
            raise


def _scaled(network: Any, config: Mapping[str, Any]) -> bool:
    from mlx_lm.models.rope_utils import initialize_rope

    text = config.get("text_config")
    said = (text if isinstance(text, dict) else config)["rope_scaling"]
    kind = said.get("rope_type", said.get("type"))
    if kind == "default":  # sections of pictures' positions stand in there, too
        return True
    if text is not None or kind not in _KINDS:
        return False
    if "ROPE_INIT_FUNCTIONS" not in modeling_source(str(config.get("model_type"))):
        return False
    plain = [(path, module) for path, module in network.named_modules() if type(module) is nn.RoPE]
    context = config.get("max_position_embeddings")
    limit = {"original_max_position_embeddings": context}
    made = [
        (path, initialize_rope(rope.dims, rope.base, rope.traditional, {**limit, **said}, context))
        for path, rope in plain
    ]
    if made:
        network.update_modules(tree_unflatten(made))
    return bool(made)


def use_named_bases(network: Any, config: Mapping[str, Any]) -> None:
    """Give the plain RoPE of `network`, in place, the base that a normalised `config` has for it, or for its type of layer."""
    text = config.get("text_config")
    part = text if isinstance(text, dict) else config
    said, kinds = part.get("rope_parameters"), part.get("layer_types")
    if isinstance(said, dict) and isinstance(kinds, list) and any(kind in said for kind in kinds):
        for layer, kind in zip(network.layers, kinds, strict=False):
            _set_base(layer, said.get(kind))
    elif config.get("model_type") == "recurrent_gemma":
        _set_base(network, {"rope_theta": config.get("rope_theta")})


def _set_base(module: Any, said: Any) -> None:
    if (
        not isinstance(said, dict)
        or said.get("rope_type", "default") not in _PLAIN
        or not said.get("rope_theta")
    ):
        return
    for _, found in module.named_modules():
        if type(found) is nn.RoPE:
            found.base = float(said["rope_theta"])
