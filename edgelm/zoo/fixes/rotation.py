"""How much of each head RoPE turns, as the config names it, where mlx-lm's architecture turns all of it.

mlx-lm's glm never reads `partial_rotary_factor`: its logits are half wrong without a word. Only the modules of
the network at hand are changed. See `edgelm.zoo.configs.normalise.check_rope_is_read` for scalings.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import mlx.nn as nn

READERS = ("partial_rotary", "rotary_pct", "rope_parameters", "rope_pct", "qk_rope_head_dim", "text_config")
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
    for _, module in network.named_modules():
        if type(module) is nn.RoPE:
            module.dims = int(module.dims * share)


def _is_heeded(kind: str) -> bool:
    """Whether transformers' own code for a type looks at the share: its Llama turns whole heads whatever the config says."""
    from transformers.models.auto.configuration_auto import model_type_to_module_name

    folder = model_type_to_module_name(kind)
    if not folder.isidentifier() or importlib.util.find_spec(f"transformers.models.{folder}") is None:
        return True
    spec = importlib.util.find_spec(f"transformers.models.{folder}.modeling_{folder}")
    return (
        spec is None
        or spec.origin is None
        or "partial_rotary" in Path(spec.origin).read_text(encoding="utf-8")
    )
