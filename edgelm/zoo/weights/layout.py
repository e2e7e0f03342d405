"""Tensors under the names and in the layout that mlx-lm's `sanitize` of a wrapper knows.

Some architectures know their checkpoint as it was first published and not as transformers 5 writes it, or the other way
round: experts one by one or stacked, turned or not; the text model under another prefix. Here a checkpoint is brought
into the form that is read, before `sanitize` sees it. Source: transformers 5.24, conversion_mapping.py, and its
`save_pretrained`.

Shapes: E experts, H hidden, I width of an expert.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import mlx.core as mx

T = TypeVar("T")
Compute = Callable[[list[mx.array]], mx.array]
Derive = Callable[[Sequence[T], Compute], T]
"""Makes one tensor of others."""
Shaped = Mapping[str, Any]

_PREFIXES: dict[str, tuple[tuple[str, str], ...]] = {
    "gemma3n": (("language_model.model.", "model.language_model."),),
    "gpt2": (("transformer.", ""),),
    "kimi_k25": (
        ("language_model.model.blocks.", "language_model.model.layers."),
        ("model.mm_projector.", "mm_projector."),
    ),
    "lfm2-vl": (
        ("model.language_model.", "language_model.model."),
        ("model.vision_tower.", "vision_tower."),
        ("model.multi_modal_projector.", "multi_modal_projector."),
    ),
    "muse_glimmer": (
        ("model.vision_tower.", "vision_tower."),
        ("model.vision_adapter.", "vision_adapter."),
        ("model.vision_projection.", "vision_projection."),
    ),
    "pixtral": (
        ("model.language_model.", "language_model.model."),
        ("model.vision_tower.", "vision_tower."),
        ("model.multi_modal_projector.", "multi_modal_projector."),
        ("lm_head.", "language_model.lm_head."),
    ),
}
"""mlx-lm's architecture → (prefix in the checkpoint, the one that is read)."""

_EXPERT = re.compile(r"(?P<block>.+)\.experts\.(?P<at>\d+)\.(?P<part>(?:gate|up|down)_proj)\.weight")
_FUSED = re.compile(r".+\.experts\.(?P<part>gate_up_proj|down_proj)")


def arranged(config: Mapping[str, Any], tensors: Mapping[str, T], derive: Derive[T]) -> dict[str, T]:
    """Arrange `tensors`, with `shape`, as the architecture of a normalised config reads them.

    Args:
        derive: makes a tensor of others by a function of arrays.
    """
    kind = str(config.get("model_type"))
    found = {_renamed(name, _PREFIXES.get(kind, ())): tensor for name, tensor in tensors.items()}
    if kind == "qwen3_5_moe":
        return _stacked(found, derive)
    if kind == "gpt_oss":
        return _unpacked_experts(found, derive)
    if kind == "lfm2-vl":
        return _with_rows_last(found, derive)
    if kind == "qwen3_vl_moe":
        return _turned(found, config, derive)
    return found


def arranged_arrays(config: Mapping[str, Any], arrays: Mapping[str, mx.array]) -> dict[str, mx.array]:
    """Arrange arrays as the architecture of a normalised config reads them."""
    return arranged(config, arrays, lambda given, compute: compute(list(given)))


def _renamed(name: str, prefixes: tuple[tuple[str, str], ...]) -> str:
    for old, new in prefixes:
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def _stacked(tensors: Mapping[str, T], derive: Derive[T]) -> dict[str, T]:
    """Experts that lie one by one, each [I, H] or [H, I], under one name."""
    found: dict[str, T] = {}
    groups: dict[str, dict[int, T]] = {}
    for name, tensor in tensors.items():
        match = _EXPERT.fullmatch(name)
        if match:
            group = f"{match['block']}.switch_mlp.{match['part']}.weight"
            groups.setdefault(group, {})[int(match["at"])] = tensor
        else:
            found[name] = tensor
    for name, experts in groups.items():
        found[name] = derive([experts[at] for at in sorted(experts)], mx.stack)
    return found


def _unpacked_experts(tensors: Mapping[str, T], derive: Derive[T]) -> dict[str, T]:
    """gpt-oss was published in MXFP4; unpacked, its experts are [E, H, 2I] and [E, I, H], and are read turned."""
    found: dict[str, T] = {}
    for name, tensor in tensors.items():
        is_fused = _FUSED.fullmatch(name) is not None
        found[f"{name}.weight" if is_fused else name] = derive([tensor], _turn) if is_fused else tensor
    return found


def _with_rows_last(tensors: Mapping[str, T], derive: Derive[T]) -> dict[str, T]:
    """Depthwise convolutions, [C, 1, K] in PyTorch and [C, K, 1] in MLX."""
    return {
        name: derive([tensor], _turn) if name.endswith(".conv.weight") and _shape(tensor)[-1] > 1 else tensor
        for name, tensor in tensors.items()
    }


def _turned(tensors: Mapping[str, T], config: Mapping[str, Any], derive: Derive[T]) -> dict[str, T]:
    """Qwen3-VL's experts were published as [E, H, 2I] and [E, I, H]; transformers 5 writes [E, 2I, H] and [E, H, I]."""
    text = config.get("text_config")
    hidden, width = ((text or {}).get(name) for name in ("hidden_size", "moe_intermediate_size"))
    as_written = {"gate_up_proj": (2 * (width or 0), hidden), "down_proj": (hidden, width)}
    fused = {name: match["part"] for name in tensors if (match := _FUSED.fullmatch(name))}
    telling = [
        (as_written[part], tuple(_shape(tensors[name])[1:]))
        for name, part in fused.items()
        if len(set(as_written[part])) > 1  # a square one tells nothing
    ]
    if not telling or any(expected != there for expected, there in telling):
        return dict(tensors)
    turned = {name: derive([tensors[name]], _turn) for name in fused}
    return {**tensors, **turned}


def _turn(given: list[mx.array]) -> mx.array:
    return mx.swapaxes(given[0], -1, -2)


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(tensor.shape)
