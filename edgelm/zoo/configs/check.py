"""Configs that are refused: of architectures that mlx-lm does not have, and with RoPE scaling that it would ignore."""

from __future__ import annotations

import re

from edgelm.errors import FormatError, UnsafeError, UnsupportedError
from edgelm.zoo.configs.normalise import MAX_LAYERS, Config
from edgelm.zoo.configs.readers import reads_scaling
from edgelm.zoo.configs.sources import module_spec

_LAYERS = re.compile(r"(num|n)_\w*layers?|depth")


def check_architecture(config: Config) -> None:
    """Refuse an architecture that mlx-lm has no code for, or one that brings its own.

    Raises:
        UnsafeError: `model_file` asks for Python from the checkpoint to be run.
        UnsupportedError: mlx-lm has no such architecture.
        FormatError: it says that it has more layers than any model.
    """
    if config.get("model_file"):
        raise UnsafeError(
            f"the config asks to run {config['model_file']!r} from the checkpoint, and edgelm runs no code from checkpoints"
        )
    name = config["model_type"]
    if not name.replace("_", "").replace("-", "").isalnum() or not _has_module(name):
        raise UnsupportedError(
            f"architecture {name!r} is not supported by mlx-lm {_mlx_lm_version()}",
            hint="supported: llama, mistral, qwen2, qwen3, gemma2, gemma3, phi3, mixtral and about 110 more",
        )
    if name == "minimax" and not {"attn_type_list", "full_attn_alpha_factor", "block_size"}.isdisjoint(
        config
    ):
        raise UnsupportedError(
            "MiniMax-Text-01, with its lightning attention, is not supported by mlx-lm, whose minimax is MiniMax-M2"
        )
    _check_depth(config)


def _check_depth(config: Config) -> None:
    for name, value in config.items():
        if isinstance(value, dict):
            _check_depth(value)
        elif _LAYERS.fullmatch(name) and isinstance(value, int) and value > MAX_LAYERS:
            raise FormatError(f"the config has {name} {value}, expected at most {MAX_LAYERS}")


def _has_module(name: str) -> bool:
    """Whether mlx-lm has a file for the architecture; looks without importing it."""
    return module_spec(name) is not None


def _mlx_lm_version() -> str:
    from importlib.metadata import version

    return version("mlx-lm")


def check_rope_is_read(config: Config) -> None:
    """Refuse a model whose RoPE scaling mlx-lm's architecture would silently ignore.

    Args:
        config: a normalised config.

    Raises:
        UnsupportedError: the config scales RoPE, and the architecture's code never computes with that.
    """
    text = config.get("text_config")
    part = text if isinstance(text, dict) else config
    outer = str(config["model_type"])
    if not part.get("rope_scaling") or reads_scaling(outer, str(part.get("model_type") or outer)):
        return
    raise UnsupportedError(
        f"the config scales RoPE ({part['rope_scaling']}), but mlx-lm's {config['model_type']} ignores scaling"
        " and would compute wrong positions"
    )
