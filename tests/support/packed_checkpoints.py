"""Tiny checkpoints packed as other tools pack them, beside a twin that holds by value what the packed weights mean.

Each packing here follows its documentation in a few lines of torch; `tests/converters/sources/packings/` checks them once
against the library that writes them, where it is installed.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

Parts = dict[str, torch.Tensor]
Packing = Callable[[torch.Tensor], tuple[Parts, torch.Tensor]]
"""A float32 matrix → its parts by last name, and what they mean."""

PROJECTIONS = r"\.(q|k|v|o|gate|up|down)_proj\.weight$"


def pack(
    source: Path, target: Path, packing: Packing, settings: dict[str, Any] | None, matching: str = PROJECTIONS
) -> dict[str, torch.Tensor]:
    """Write `source` to `target` with the weights whose names match packed, and to `target`-twin by value.

    Returns:
        What the packed weights mean, by name.
    """
    twin = target.with_name(f"{target.name}-twin")
    shutil.copytree(source, target)
    shutil.copytree(source, twin)
    stored, meant = load_file(source / "model.safetensors"), {}
    packed = dict(stored)
    for name in [name for name in stored if re.search(matching, name)]:
        parts, value = packing(packed.pop(name).float())
        path = name.removesuffix(".weight")
        joint = "." if path != name else "_"  # experts in one tensor have no last name of their own
        packed |= {
            f"{path}{joint}{last}" if last else path: part.contiguous() for last, part in parts.items()
        }
        meant[name] = value
    save_file(packed, target / "model.safetensors", {"format": "pt"})
    save_file(
        {**stored, **{name: each.contiguous() for name, each in meant.items()}},
        twin / "model.safetensors",
        {"format": "pt"},
    )
    if settings is not None:
        config = json.loads((target / "config.json").read_text())
        (target / "config.json").write_text(json.dumps({**config, "quantization_config": settings}))
    return meant


def fp8_blocks(
    rows: int,
    columns: int,
    *,
    powers: bool = False,
    kind: torch.dtype = torch.float8_e4m3fn,
    last: str = "weight_scale_inv",
) -> Packing:
    """DeepSeek's layout: a scale for every block, the last ones cut."""

    def packing(weight: torch.Tensor) -> tuple[Parts, torch.Tensor]:
        height, width = -(-weight.shape[0] // rows), -(-weight.shape[1] // columns)
        padded = torch.zeros(height * rows, width * columns)
        padded[: weight.shape[0], : weight.shape[1]] = weight
        blocks = padded.reshape(height, rows, width, columns)
        scale = blocks.abs().amax((1, 3)).clamp(min=1e-12) / torch.finfo(kind).max
        if powers:
            scale = torch.exp2(torch.ceil(torch.log2(scale)))
        full = scale.repeat_interleave(rows, 0).repeat_interleave(columns, 1)[
            : weight.shape[0], : weight.shape[1]
        ]
        codes = (weight / full).to(kind)
        return {"weight": codes, last: scale}, codes.float() * full

    return packing


def fp8_rows(
    last: str = "weight_scale", *, per_tensor: bool = False, dtype: torch.dtype = torch.float32
) -> Packing:
    """A scale for every row, [O, 1], or one for the tensor."""

    def packing(weight: torch.Tensor) -> tuple[Parts, torch.Tensor]:
        largest = weight.abs().max() if per_tensor else weight.abs().amax(1, keepdim=True)
        scale = (largest / 448).to(dtype)
        codes = (weight / scale.float()).to(torch.float8_e4m3fn)
        return {"weight": codes, last: scale}, codes.float() * scale.float()

    return packing


def mxfp8(last: str = "weight_scale_inv", *, as_bytes: bool = False) -> Packing:
    """Powers of two over 32 columns."""

    def packing(weight: torch.Tensor) -> tuple[Parts, torch.Tensor]:
        parts, meant = fp8_blocks(1, 32, powers=True)(weight)
        scale = parts["weight_scale_inv"].to(torch.float8_e8m0fnu)
        return {"weight": parts["weight"], last: scale.view(torch.uint8) if as_bytes else scale}, meant

    return packing


E2M1 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])


def _fp4(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(two codes a byte, the lower half first; their values)."""
    index = (values.abs()[..., None] - E2M1).abs().argmin(-1)
    codes = (index + 8 * (values < 0)).to(torch.uint8)
    signs = torch.where(values < 0, -1.0, 1.0)
    return codes[..., ::2] | (codes[..., 1::2] << 4), E2M1[index] * signs


def mxfp4(names: tuple[str, str] = ("weight_packed", "weight_scale"), *, signed: bool = False) -> Packing:
    """4-bit floats under powers of two over 32 columns, as bytes."""

    def packing(weight: torch.Tensor) -> tuple[Parts, torch.Tensor]:
        groups = weight.reshape(*weight.shape[:-1], -1, 32)
        power = torch.floor(torch.log2(groups.abs().amax(-1, keepdim=True).clamp(min=1e-12))) - 2
        codes, values = _fp4(groups / torch.exp2(power))
        codes = codes.reshape(*weight.shape[:-1], -1)
        scale = (power.squeeze(-1) + 127).to(torch.uint8)
        parts = {names[0]: codes.view(torch.int8) if signed else codes, names[1]: scale}
        return parts, (values * torch.exp2(power)).reshape(weight.shape)

    return packing


def nvfp4(*, modelopt: bool = False, unit: bool = False) -> Packing:
    """4-bit floats under E4M3 over 16 columns and a scale of the whole tensor."""

    def packing(weight: torch.Tensor) -> tuple[Parts, torch.Tensor]:
        groups = weight.reshape(weight.shape[0], -1, 16)
        whole = torch.tensor(1.0) if unit else 448 * 6 / weight.abs().max()
        scale = (groups.abs().amax(-1) / 6 * whole).to(torch.float8_e4m3fn)
        used = scale.float() * (1 / whole) if modelopt else scale.float() / whole
        codes, values = _fp4(groups / used.clamp(min=1e-12)[..., None])
        codes = codes.reshape(weight.shape[0], -1)
        meant = (values * used[..., None]).reshape(weight.shape)
        if modelopt:
            return {
                "weight": codes,
                "weight_scale": scale,
                "weight_scale_2": 1 / whole,
                "input_scale": torch.tensor(0.1),
            }, meant
        return {"weight_packed": codes, "weight_scale": scale, "weight_global_scale": whole.reshape(1)}, meant

    return packing


def _bit_stream(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Unsigned codes [n, I] → int32 [n, ceil(I * bits / 32)], little-endian."""
    spread = (codes.to(torch.int64)[..., None] >> torch.arange(bits)) & 1
    flat = spread.reshape(codes.shape[0], -1)
    flat = torch.nn.functional.pad(flat, (0, -flat.shape[1] % 32)).reshape(codes.shape[0], -1, 32)
    words = (flat << torch.arange(32)).sum(-1)
    return torch.where(words >= 1 << 31, words - (1 << 32), words).to(torch.int32)


def _words(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Unsigned codes [n, I] → int32, 32 // bits of them in each."""
    each = 32 // bits
    codes = torch.nn.functional.pad(codes.to(torch.int64), (0, -codes.shape[1] % each))
    return (codes.reshape(codes.shape[0], -1, each) << (torch.arange(each) * bits)).sum(-1).to(torch.int32)


def mxfp6() -> Packing:
    """6-bit floats (E2M3) under powers of two over 32 columns, four in three bytes."""
    table = torch.tensor(
        [m / 8 for m in range(8)] + [(1 + m / 8) * 2.0**e for e in range(3) for m in range(8)]
    )

    def packing(weight: torch.Tensor) -> tuple[Parts, torch.Tensor]:
        groups = weight.reshape(weight.shape[0], -1, 32)
        power = torch.floor(torch.log2(groups.abs().amax(-1, keepdim=True).clamp(min=1e-12))) - 2
        values = groups / torch.exp2(power)
        index = (values.abs()[..., None] - table).abs().argmin(-1)
        meant = table[index] * torch.where(values < 0, -1.0, 1.0) * torch.exp2(power)
        codes = (index + 32 * (values < 0)).reshape(weight.shape[0], -1, 4)
        word = (codes << torch.tensor([0, 6, 12, 18])).sum(-1)
        packed = torch.stack([word, word >> 8, word >> 16], -1) & 0xFF
        scale = (power.squeeze(-1) + 127).to(torch.uint8)
        parts = {"weight_packed": packed.to(torch.uint8).reshape(weight.shape[0], -1), "weight_scale": scale}
        return parts, meant.reshape(weight.shape)

    return packing


def integers(
    bits: int, group: int | None, *, symmetric: bool = True, packed: bool = True,
    dtype: torch.dtype = torch.bfloat16, order: torch.Tensor | None = None, padded: bool = False,
) -> Packing:  # fmt: skip
    """compressed-tensors' integers: `pack-quantized`, or `int-quantized` where not `packed`.

    Args:
        group: columns that share a scale; None for a whole row.
        order: the group of each column (act-order).
        padded: no code is cut in two by words, as versions before 0.13 had it.
    """

    def packing(weight: torch.Tensor) -> tuple[Parts, torch.Tensor]:
        rows, columns = weight.shape
        size = group or columns
        groups = torch.arange(columns) // size if order is None else order
        count, low, high = columns // size, -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        lowest = torch.stack([weight[:, groups == at].amin(1) for at in range(count)], 1)
        highest = torch.stack([weight[:, groups == at].amax(1) for at in range(count)], 1)
        if symmetric:
            scale = (2 * torch.maximum(-lowest, highest) / (high - low)).to(dtype)
            zeros = torch.zeros(rows, count)
        else:
            scale = ((highest - lowest) / (high - low)).to(dtype)
            zeros = (low - lowest / scale.float()).round().clamp(low, high)
        codes = (weight / scale.float()[:, groups] + zeros[:, groups]).round().clamp(low, high)
        meant = (codes - zeros[:, groups]) * scale.float()[:, groups]
        parts = {"weight_scale": scale}
        if packed:
            parts["weight_packed"] = _words(codes - low, bits) if padded else _bit_stream(codes - low, bits)
            parts["weight_shape"] = torch.tensor(weight.shape)
        else:
            parts["weight"] = codes.to(torch.int8)
        if not symmetric:
            parts["weight_zero_point"] = (
                _bit_stream((zeros - low).T, bits).T if packed else zeros.to(torch.int8)
            )
        if order is not None:
            parts["weight_g_idx"] = order.to(torch.int32)
        return parts, meant

    return packing
