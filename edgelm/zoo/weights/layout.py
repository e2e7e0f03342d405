"""Tensors under the names and in the layout that mlx-lm's `sanitize` of an architecture knows.

Some architectures know their checkpoint as it was first published and not as transformers 5 writes it, or the other way
round: names (`names.py`), experts one by one or together, turned or not (`experts.py`), and what is left out. Here a checkpoint
is brought into the form that is read, before `sanitize` sees it. Source: transformers 5.24, conversion_mapping.py, and its
`save_pretrained`.

Shapes: E experts, H hidden, I width of an expert, C channels, K width of a convolution.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx

from edgelm.zoo.configs.sources import family_source
from edgelm.zoo.network import build_network
from edgelm.zoo.tree import flat_parameters
from edgelm.zoo.weights.derive import Derive, T, same, shape_of, turned
from edgelm.zoo.weights.experts import with_experts
from edgelm.zoo.weights.names import renamed

Config = Mapping[str, Any]

_FUSED = re.compile(r".+\.experts\.(?:gate_up_proj|down_proj)")
_CONVOLUTION = re.compile(r"(?P<stem>.+\.(?:linear_attn|self_attn|attention)\.)(?:[qkv]_)?conv1d\.weight")
_EXPERT = re.compile(r"\.experts\.(?P<at>\d+)\.")
_LAYER = re.compile(
    r"(?P<stem>.*\blayers\.)(?P<at>\d+)\.self_attn\.(?P<part>q_proj|k_proj|v_proj|k_norm)\.weight"
)


def arranged(config: Config, tensors: Mapping[str, T], derive: Derive[T], directory: Path) -> dict[str, T]:
    """Arrange `tensors`, with `shape`, as the architecture of a normalised config reads them.

    Args:
        derive: makes a tensor of others by a function of arrays.
        directory: for messages.
    """
    kind = str(config.get("model_type"))
    found = renamed(kind, tensors)
    if kind == "longcat_flash":
        found = _without_zero_experts(found, config, derive)
    if kind == "gpt_oss":
        return _unpacked_experts(found, derive)

    def shapes() -> dict[str, tuple[int, ...]]:
        return {
            name: shape_of(array)
            for name, array in flat_parameters(build_network(dict(config), directory)).items()
        }

    had_one_by_one = any(".experts.0.up_proj." in name for name in found)
    found = with_experts(found, family_source(config), shapes, derive)
    if kind in _OWN:
        found = _OWN[kind](found, config, derive)
    if kind == "qwen3_next" and not had_one_by_one:
        return _as_qwen3_next_sanitizes(found, derive)
    return found


def arranged_arrays(config: Config, arrays: Mapping[str, mx.array], directory: Path) -> dict[str, mx.array]:
    """Arrange arrays as the architecture of a normalised config reads them."""
    return arranged(config, arrays, lambda given, compute: compute(list(given)), directory)


def _unpacked_experts(tensors: Mapping[str, T], derive: Derive[T]) -> dict[str, T]:
    """gpt-oss was published in MXFP4; unpacked, its experts are [E, H, 2I] and [E, I, H], and are read turned."""
    found: dict[str, T] = {}
    for name, tensor in tensors.items():
        is_fused = _FUSED.fullmatch(name) is not None
        found[f"{name}.weight" if is_fused else name] = derive([tensor], turned) if is_fused else tensor
    return found


def _with_rows_last(tensors: Mapping[str, T], config: Config, derive: Derive[T]) -> dict[str, T]:
    """Depthwise convolutions, [C, 1, K] in PyTorch and [C, K, 1] in MLX."""
    return {
        name: derive([tensor], turned)
        if name.endswith(".conv.weight") and shape_of(tensor)[-1] > 1
        else tensor
        for name, tensor in tensors.items()
    }


def _with_shared_keys(tensors: Mapping[str, T], config: Config, derive: Derive[T]) -> dict[str, T]:
    """Gemma 3n's last layers use keys and values of earlier ones; mlx-lm asks for weights of theirs, and never uses them.

    The releases have some; transformers 5 leaves them out. Those of the layer that is shared stand in.
    """
    text = config.get("text_config") or {}
    kinds, shared = text.get("layer_types"), text.get("num_kv_shared_layers") or 0
    if not isinstance(kinds, list) or not 0 < shared < len(kinds):
        return dict(tensors)
    found, own = dict(tensors), kinds[: len(kinds) - shared]
    for name in tensors:
        match = _LAYER.fullmatch(name)
        if match is None or match["part"] != "q_proj" or not len(own) <= int(match["at"]) < len(kinds):
            continue
        kind = kinds[int(match["at"])]
        if kind not in own:
            continue
        source = len(own) - 1 - own[::-1].index(kind)
        for part in ("k_proj", "v_proj", "k_norm"):
            missing = f"{match['stem']}{match['at']}.self_attn.{part}.weight"
            stands_in = f"{match['stem']}{source}.self_attn.{part}.weight"
            if missing not in found and stands_in in tensors:
                found[missing] = derive([tensors[stands_in]], same)
    return found


def _with_three_convolutions(tensors: Mapping[str, T], config: Config, derive: Derive[T]) -> dict[str, T]:
    """Those of queries, keys and values, [C, 1, K], which transformers 5 keeps as one.

    When it saves, it cuts that one into three of a size, whatever their channels are (OLMo Hybrid's values are wider): put
    together again they are the one.
    """
    found = dict(tensors)
    for stem in {match["stem"] for name in tensors if (match := _CONVOLUTION.fullmatch(name))}:
        names = [
            f"{stem}{name}"
            for name in ("conv1d.weight", "q_conv1d.weight", "k_conv1d.weight", "v_conv1d.weight")
        ]
        held = [tensors[name] for name in names if name in tensors]
        width = sum(shape_of(tensor)[0] for tensor in held)
        heads, size = config.get("linear_num_key_heads"), config.get("linear_key_head_dim")
        keys = heads * size if isinstance(heads, int) and isinstance(size, int) else width // 3
        if len(held) == 3 and shape_of(held[1])[0] == keys:
            continue
        for name in names:
            found.pop(name, None)
        for name, start, end in zip(names[1:], (0, keys, 2 * keys), (keys, 2 * keys, width), strict=True):
            found[name] = derive(held, _rows(start, end))
    return found


def _as_ling(tensors: Mapping[str, T], config: Config, derive: Derive[T]) -> dict[str, T]:
    """Ling 3's output projection is `dense` in layers of latent attention only; transformers 5 writes it so in all layers."""
    found = _with_three_convolutions(tensors, config, derive)
    delta = {name.removesuffix("q_conv1d.weight") for name in found if name.endswith(".q_conv1d.weight")}
    return {_renamed_output(name, delta): tensor for name, tensor in found.items()}


def _renamed_output(name: str, delta: set[str]) -> str:
    stem = name.removesuffix("dense.weight")
    return f"{stem}o_proj.weight" if stem != name and stem in delta else name


def _with_gates_apart(tensors: Mapping[str, T], config: Config, derive: Derive[T]) -> dict[str, T]:
    """MiniMax M3's plain layers and shared experts, whose gates transformers 5 keeps above what they gate, [2I, H]."""
    found: dict[str, T] = {}
    for name, tensor in tensors.items():
        stem = name.removesuffix("gate_up_proj.weight")
        if stem == name or ".layers." not in name:
            found[name] = tensor
            continue
        width = shape_of(tensor)[0] // 2
        found[f"{stem}gate_proj.weight"] = derive([tensor], _rows(0, width))
        found[f"{stem}up_proj.weight"] = derive([tensor], _rows(width, 2 * width))
    return found


def _without_zero_experts(tensors: Mapping[str, T], config: Config, derive: Derive[T]) -> dict[str, T]:
    """LongCat's experts that do nothing have no weights; transformers 5 keeps and writes some for their gates."""
    count = int(config.get("n_routed_experts") or 0)
    found: dict[str, T] = {}
    for name, tensor in tensors.items():
        match = _EXPERT.search(name)
        if match is not None and int(match["at"]) >= count:
            continue
        is_longer = _FUSED.fullmatch(name) is not None and shape_of(tensor)[0] > count
        found[name] = derive([tensor], _rows(0, count)) if is_longer else tensor
    return found


def _rows(start: int, end: int) -> Callable[[list[mx.array]], mx.array]:
    return lambda given: mx.concatenate(given)[start:end]


def _as_qwen3_next_sanitizes(tensors: Mapping[str, T], derive: Derive[T]) -> dict[str, T]:
    """mlx-lm's `sanitize` of Qwen3-Next does nothing where no expert lies by itself: neither turns nor shifts, nor drops."""
    if not any(
        name.endswith("conv1d.weight") and shape_of(tensor)[-1] != 1 for name, tensor in tensors.items()
    ):
        return dict(tensors)
    found: dict[str, T] = {}
    for name, tensor in tensors.items():
        if "mtp." in name:
            continue
        if name.endswith("conv1d.weight"):
            tensor = derive([tensor], turned)
        elif name.endswith(_SHIFTED) and len(shape_of(tensor)) == 1:
            tensor = derive([tensor], _plus_one)
        found[name] = tensor
    return found


_SHIFTED = (
    ".input_layernorm.weight", ".post_attention_layernorm.weight", "model.norm.weight", ".q_norm.weight", ".k_norm.weight",
)  # fmt: skip
"""Norms whose weights are stored as what they add to one."""


def _plus_one(given: list[mx.array]) -> mx.array:
    return given[0] + 1.0


_OWN: Mapping[str, Callable[[Mapping[str, Any], Config, Any], dict[str, Any]]] = {
    "bailing_moe_v3": _as_ling,
    "gemma3n": _with_shared_keys,
    "kimi_linear": _with_three_convolutions,
    "lfm2-vl": _with_rows_last,
    "minimax_m3_vl": _with_gates_apart,
    "olmo_hybrid": _with_three_convolutions,
}
"""mlx-lm's architecture → what else it needs."""
