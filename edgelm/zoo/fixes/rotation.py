"""How much of each head RoPE turns, as the config names it, where mlx-lm's architecture turns all of it.

Upstream: mlx_lm 0.32.2, models/glm.py, which never reads `partial_rotary_factor`: its logits are half wrong without a word.
Only the modules of the network at hand are changed, and only those that turn whole heads: MiniMax says by `rotary_dim` what
others say by a share, and its modules have it already. See `edgelm.zoo.configs.normalise.check_rope_is_read` for scalings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlx.nn as nn

from edgelm.zoo.fixes.peers import modeling_source

READERS = (
    "partial_rotary", "rotary_pct", "rotary_dim", "rope_parameters", "rope_pct", "qk_rope_head_dim", "text_config",
)  # fmt: skip
"""What a module's source mentions if it decides for itself how much is turned."""


def use_named_rotation(network: Any, config: dict[str, Any], source: str) -> None:
    """Make every RoPE of `network` turn the share of its dimensions that `config` names, if it names one.

    Args:
        config: normalised.
        source: the source text of mlx-lm's module for the architecture.
    """
    share = config.get("partial_rotary_factor")
    if not isinstance(share, float) or not 0 < share < 1 or any(name in source for name in READERS):
        return
    if not _is_heeded(str(config.get("model_type"))):
        return
    whole = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    for _, module in network.named_modules():
        if type(module) is nn.RoPE and module.dims == whole:
            module.dims = int(whole * share)


def use_named_pairs(network: Any, config: Mapping[str, Any]) -> None:
    """Make RoPE turn neighbours or halves, in place, as `rope_interleave` of a normalised `config` says.

    Upstream: mlx_lm 0.32.2, models/deepseek_v3.py and glm4_moe_lite.py, which always turn neighbours. RecurrentGemma turns half
    of each head, and models/recurrent_gemma.py takes that for granted.
    """
    text = config.get("text_config")
    part = text if isinstance(text, dict) else config
    kind, said = str(part.get("model_type") or config.get("model_type")), part.get("rope_interleave")
    if isinstance(said, bool) and kind in ("deepseek_v3", "glm4_moe_lite"):
        for path, module in network.named_modules():
            if path.endswith("self_attn.rope"):
                module.traditional = said
    elif kind == "recurrent_gemma":
        for layer in network.layers:
            rope = getattr(layer.temporal_block, "rope", None)
            if rope is not None:
                rope.dims = int(
                    layer.temporal_block.head_dim * float(part.get("partial_rotary_factor") or 0.5)
                )


def _is_heeded(kind: str) -> bool:
    """Whether transformers' own code for a type looks at the share: its Llama turns whole heads whatever the config says."""
    source = modeling_source(kind)
    return not source or "partial_rotary" in source
