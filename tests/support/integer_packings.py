"""Weights packed as GPTQ, AWQ, AutoRound, HQQ, torchao, bitsandbytes, Quark and BitNet pack them, beside what they mean.

Each follows its tool's documentation in a few lines of torch, by other means than the readers. All were held once against
the tools themselves on a CPU: AutoGPTQ 0.7.1, AutoRound 0.16.1, AutoAWQ 0.2.9, hqq 0.2.8, torchao 0.18, bitsandbytes 0.50.2,
amd-quark 0.13, transformers 5.24. `Packing` and `Parts` are those of `packed_checkpoints`.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from packed_checkpoints import Packing, Parts

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
FP4 = tuple(sign * value / 12 for sign in (1, -1) for value in (0, 0.0625, 8, 12, 4, 6, 2, 3))


def stream(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Unsigned codes [n, I] → int32 [n, I * bits / 32], little-endian."""
    spread = (codes.to(torch.int64)[..., None] >> torch.arange(bits)) & 1
    words = (spread.reshape(codes.shape[0], -1, 32) << torch.arange(32)).sum(-1)
    return torch.where(words >= 1 << 31, words - (1 << 32), words).to(torch.int32)


def quantized(
    weight: torch.Tensor, bits: int, groups: torch.Tensor, dtype: torch.dtype, *, symmetric: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Round `weight` [R, C] to nearest: unsigned codes [R, C], scales and zero points [R, G], and the values they mean.

    Args:
        groups: [C], the group of every column.
    """
    count, top = int(groups.max()) + 1, (1 << bits) - 1
    lowest = torch.stack([weight[:, groups == at].amin(1).clamp(max=0) for at in range(count)], 1)
    highest = torch.stack([weight[:, groups == at].amax(1).clamp(min=0) for at in range(count)], 1)
    if symmetric:
        scales = (2 * torch.maximum(-lowest, highest) / top).to(dtype).float()
        zeros = torch.full_like(scales, 1 << (bits - 1))
    else:
        scales = ((highest - lowest) / top).to(dtype).float()
        zeros = (-lowest / scales).round().clamp(1, top)
    codes = (weight / scales[:, groups] + zeros[:, groups]).round().clamp(0, top)
    return codes, scales, zeros, (codes - zeros[:, groups]) * scales[:, groups]


def gptq(
    bits: int = 4, group: int = 32, *, symmetric: bool = True, version: int = 1, order: torch.Tensor | None = None,
    with_order: bool = True, dtype: torch.dtype = torch.float16,
) -> Packing:  # fmt: skip
    """AutoGPTQ's layout; `group` -1 is a whole row, `order` the group of every column."""

    def packing(weight: torch.Tensor) -> tuple[Parts, torch.Tensor]:
        columns = weight.shape[1]
        groups = torch.arange(columns) // (columns if group == -1 else group) if order is None else order
        codes, scales, zeros, meant = quantized(weight, bits, groups, dtype, symmetric=symmetric)
        stored = (zeros - (1 if version == 1 else 0)).to(torch.int64) & ((1 << bits) - 1)
        parts = {
            "qweight": stream(codes, bits).T,
            "qzeros": stream(stored.T, bits),
            "scales": scales.T.to(dtype),
        }
        return parts | ({"g_idx": groups.to(torch.int32)} if with_order else {}), meant

    return packing


def _awq_order(values: torch.Tensor) -> torch.Tensor:
    return values.reshape(values.shape[0], -1, 8)[..., list(AWQ_ORDER)].reshape(values.shape)


def awq(bits: int = 4, group: int = 32, *, dtype: torch.dtype = torch.float16) -> Packing:
    """AutoAWQ's gemm layout."""

    def packing(weight: torch.Tensor) -> tuple[Parts, torch.Tensor]:
        groups = torch.arange(weight.shape[1]) // group
        codes, scales, zeros, meant = quantized(weight, bits, groups, dtype, symmetric=False)
        return {
            "qweight": stream(_awq_order(codes.T), bits),
            "qzeros": stream(_awq_order(zeros.T), bits),
            "scales": scales.T.to(dtype),
        }, meant

    return packing


def _padded(values: torch.Tensor, group: int) -> torch.Tensor:
    """`values` [R, G] with groups of zeros, up to what AutoAWQ's gemv kernels load at once."""
    multiple = 8 * {128: 1, 64: 2, 32: 4}[group]
    return torch.nn.functional.pad(values, (0, -values.shape[1] % multiple))


def awq_gemv(group: int = 32) -> Packing:
    """AutoAWQ's gemv layout."""

    def packing(weight: torch.Tensor) -> tuple[Parts, torch.Tensor]:
        groups = torch.arange(weight.shape[1]) // group
        codes, scales, zeros, meant = quantized(weight, 4, groups, torch.float16, symmetric=False)
        return {
            "qweight": stream(codes, 4),
            "qzeros": stream(_padded(zeros, group), 4),
            "scales": _padded(scales, group).half(),
        }, meant

    return packing


def awq_fast(group: int = 32) -> Packing:
    """AutoAWQ's gemv_fast layout: value (row, column) → its word and nibble, one at a time."""

    def packing(weight: torch.Tensor) -> tuple[Parts, torch.Tensor]:
        rows, columns = weight.shape
        groups = torch.arange(columns) // group
        codes, scales, zeros, meant = quantized(weight, 4, groups, torch.float16, symmetric=False)
        column = torch.arange(columns)
        # Within 32: pairs of four eights change places, then even and odd of each eight part.
        eight, pair, one = column % 32 // 8, column % 8 // 2, column % 2
        place = pair * 8 + eight * 2 + one
        place = place // 8 * 8 + place % 2 * 4 + place % 8 // 2
        moved = torch.zeros_like(codes)
        moved[:, column // 32 * 32 + place] = codes
        lanes = moved.reshape(rows // 4, 4, columns // 64, 64).swapaxes(1, 2).reshape(rows // 4, columns, 4)
        words = (lanes.to(torch.int64) << torch.tensor([0, 4, 8, 12])).sum(-1)
        return {
            "qweight": torch.where(words >= 1 << 15, words - (1 << 16), words).to(torch.int16),
            "qzeros": _padded(-(scales * zeros), group).half().T,
            "scales": _padded(scales, group).half().T,
        }, meant

    return packing


def _text(value: str) -> torch.Tensor:
    return torch.tensor(list(value.encode()), dtype=torch.uint8)


def hqq(
    bits: int = 4,
    group: int = 32,
    *,
    axis: int = 1,
    dtype: torch.dtype = torch.float16,
    as_floats: bool = False,
) -> Packing:
    """hqq's encoded state of a layer, with zero points between integers."""
    name, count = {
        8: ("8bit_u8", 1),
        4: ("4bit_u8", 2),
        3: ("3bit_32", 10),
        2: ("2bit_u8", 4),
        1: ("1bit_u8", 8),
    }[bits]

    def packing(weight: torch.Tensor) -> tuple[Parts, torch.Tensor]:
        grouped = weight.reshape(-1, group) if axis == 1 else weight.reshape(group, -1)
        lowest, highest = grouped.amin(axis, keepdim=True), grouped.amax(axis, keepdim=True)
        scale = ((highest - lowest) / ((1 << bits) - 1)).to(dtype)
        zero = (-lowest / scale.float()).to(dtype)
        codes = (grouped / scale.float() + zero.float()).round().clamp(0, (1 << bits) - 1)
        meant = ((codes.to(dtype) - zero) * scale).reshape(weight.shape).float()
        kind = torch.int32 if bits == 3 else torch.uint8
        blocks = torch.nn.functional.pad(codes, (0, 0, 0, -len(codes) % count)).reshape(
            count, -1, codes.shape[1]
        )
        shifts = torch.arange(count - 1, -1, -1).reshape(-1, 1, 1) * bits
        items = (blocks.to(torch.int64) << shifts).sum(0).to(kind)
        return {
            "W_q": items.view(dtype) if as_floats else items,
            "scale": scale,
            "zero": zero,
            "nbits": torch.tensor(bits, dtype=torch.int32),
            "group_size": torch.tensor(group, dtype=torch.int32),
            "shape": torch.tensor(weight.shape),
            "axis": torch.tensor(axis, dtype=torch.int32),
            "packing": _text(name),
            "view_as_float": torch.tensor(int(as_floats), dtype=torch.uint8),
            "unpack_view_dtype": _text("torch.uint8"),
            "compute_dtype": _text(str(dtype)),
            "encoded_state_dict": torch.tensor(1, dtype=torch.uint8),
        }, meant

    return packing


def torchao_int8(
    group: int | None = None, *, bits: int = 8, dtype: torch.dtype = torch.float32, symmetric: bool = True
) -> Packing:
    """torchao's `Int8Tensor`, flattened, or its `IntxUnpackedToInt8Tensor` of fewer bits; `group` None is a whole row."""

    def packing(weight: torch.Tensor) -> tuple[Parts, torch.Tensor]:
        groups = torch.arange(weight.shape[1]) // (group or weight.shape[1])
        codes, scales, zeros, meant = quantized(weight, bits, groups, dtype, symmetric=symmetric)
        middle = 1 << (bits - 1)
        parts = {"_weight_qdata": (codes - middle).to(torch.int8), "_weight_scale": scales.to(dtype)}
        return parts | {"_weight_zero_point": (zeros - middle).to(torch.int8)}, meant

    return packing


def torchao_int4(group: int = 32, *, dtype: torch.dtype = torch.bfloat16) -> Packing:
    """torchao's `Int4Tensor`, flattened: signed codes, even columns in the low halves, and zero points that are added."""

    def packing(weight: torch.Tensor) -> tuple[Parts, torch.Tensor]:
        groups = torch.arange(weight.shape[1]) // group
        codes, scales, zeros, _ = quantized(weight, 4, groups, dtype, symmetric=False)
        added = ((8 - zeros) * scales).to(dtype).float()
        nibbles = (codes - 8).to(torch.int64) & 15
        meant = (codes - 8) * scales[:, groups] + added[:, groups]
        return {
            "_weight_qdata": (nibbles[:, ::2] | nibbles[:, 1::2] << 4).to(torch.uint8),
            "_weight_scale": scales.T.to(dtype),
            "_weight_zero_point": added.T.to(dtype),
        }, meant

    return packing


def torchao_tiles(group: int = 32) -> Packing:
    """torchao's `Int4TilePackedTo4dTensor`, flattened, word by word as the CUDA kernel packs them, padded to 8 and 1,024."""

    def packing(weight: torch.Tensor) -> tuple[Parts, torch.Tensor]:
        rows, columns = weight.shape
        groups = torch.arange(columns) // group
        codes, scales, zeros, _ = quantized(weight, 4, groups, torch.bfloat16, symmetric=False)
        added = ((8 - zeros) * scales).bfloat16().float()
        meant = (codes - 8) * scales[:, groups] + added[:, groups]
        high, wide = -(-rows // 8) * 8, -(-columns // 1024) * 1024
        padded = torch.zeros(high, wide, dtype=torch.int64)
        padded[:rows, :columns] = codes.to(torch.int64)
        stored = padded[:, ::2] << 4 | padded[:, 1::2]
        lane = torch.arange(32)
        qdata = torch.zeros(high // 8, wide // 128, 32, 4, dtype=torch.int64)
        for tile in range(high // 8):
            for outer in range(wide // 128):
                for inner in range(0, 8, 2):
                    base = (outer * 8 + inner) * 8
                    at = [base + lane % 4, base + lane % 4 + 4, base + 8 + lane % 4, base + 12 + lane % 4]
                    v = [stored[tile * 8 + lane // 4, place] for place in at]
                    word = sum((v[i] >> 4) << 4 * i | (v[i] & 15) << 16 + 4 * i for i in range(4))
                    qdata[tile, outer, :, inner // 2] = torch.as_tensor(word)
        pairs = torch.zeros(wide // group, high, 2)
        pairs[: columns // group, :rows] = torch.stack([scales.T, added.T], dim=-1)
        words = torch.where(qdata >= 1 << 31, qdata - (1 << 32), qdata).to(torch.int32)
        return {"_weight_qdata": words, "_weight_scale_and_zero": pairs.bfloat16()}, meant

    return packing


def _json(values: dict[str, Any]) -> torch.Tensor:
    return _text(json.dumps(values))


def bitsandbytes_4bit(
    kind: str = "nf4", block: int = 64, *, nested: bool = False, storage: torch.dtype = torch.uint8
) -> Packing:
    """bitsandbytes' `Params4bit` with its quant_state."""
    table = torch.tensor(NF4 if kind == "nf4" else FP4)

    def packing(weight: torch.Tensor) -> tuple[Parts, torch.Tensor]:
        flat = weight.reshape(-1)
        blocks = torch.nn.functional.pad(flat, (0, -len(flat) % block)).reshape(-1, block)
        absmax = blocks.abs().amax(1)
        said: dict[str, Any] = {
            "quant_type": kind, "blocksize": block, "dtype": "float32", "shape": list(weight.shape),
        }  # fmt: skip
        parts = {"weight.quant_map": table.clone()}
        if nested:
            offset, levels = absmax.mean(), torch.linspace(-1, 1, 256)
            outer = (
                torch.nn.functional.pad(absmax - offset, (0, -len(absmax) % 256))
                .reshape(-1, 256)
                .abs()
                .amax(1)
            )
            spread = outer.repeat_interleave(256)[: len(absmax)]
            codes = ((absmax - offset) / spread)[:, None].sub(levels).abs().argmin(1)
            absmax = levels[codes] * spread + offset
            said |= {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": offset.item()}
            parts |= {"weight.absmax": codes.to(torch.uint8), "weight.nested_absmax": outer}
            parts |= {"weight.nested_quant_map": levels}
        else:
            parts |= {"weight.absmax": absmax}
        index = (blocks / absmax[:, None].clamp(min=1e-12))[..., None].sub(table).abs().argmin(-1)
        meant = (table[index] * absmax[:, None]).reshape(-1)[: len(flat)].reshape(weight.shape)
        codes = torch.nn.functional.pad(index.reshape(-1)[: len(flat)], (0, len(flat) % 2)).reshape(-1, 2)
        stored = (codes[:, 0] << 4 | codes[:, 1]).to(torch.uint8)
        parts |= {"weight": stored.view(storage)[:, None]}
        return parts | {f"weight.quant_state.bitsandbytes__{kind}": _json(said)}, meant

    return packing


def llm_int8() -> Packing:
    """bitsandbytes' `Int8Params`."""

    def packing(weight: torch.Tensor) -> tuple[Parts, torch.Tensor]:
        largest = weight.abs().amax(1)
        codes = (weight * (127 / largest[:, None])).round()
        parts = {"weight": codes.to(torch.int8), "SCB": largest}
        parts["weight_format"] = torch.tensor(0, dtype=torch.uint8)
        return parts, codes * largest[:, None] * 7.874015718698502e-3

    return packing


def bitnet(*, multiplied: bool = False, dtype: torch.dtype = torch.float32) -> Packing:
    """Microsoft's packing of ternary weights: four blocks of rows share bytes."""

    def packing(weight: torch.Tensor) -> tuple[Parts, torch.Tensor]:
        mean = weight.abs().mean()
        ternary = (weight / mean).round().clamp(-1, 1)
        blocks = (ternary + 1).to(torch.uint8).reshape(4, -1, weight.shape[1])
        packed = sum(blocks[at].to(torch.int64) << 2 * at for at in range(4))
        scale = (mean if multiplied else 1 / mean).to(dtype)
        meant = ternary * scale.float() if multiplied else ternary / scale.float()
        return {"weight": torch.as_tensor(packed).to(torch.uint8), "weight_scale": scale.reshape(1)}, meant

    return packing


def quark(
    kind: str = "int4", group: int | None = 32, *, reordered: bool = True, dtype: torch.dtype = torch.float16
) -> Packing:
    """AMD Quark's integers: transposed and per group, or per row where `group` is None."""
    bits, signed = int(kind[-1]), not kind.startswith("u")

    def packing(weight: torch.Tensor) -> tuple[Parts, torch.Tensor]:
        groups = torch.arange(weight.shape[1]) // (group or weight.shape[1])
        codes, scales, zeros, meant = quantized(weight, bits, groups, dtype, symmetric=signed)
        middle = 1 << (bits - 1) if signed else 0

        def stored(values: torch.Tensor) -> torch.Tensor:
            values = values.T if group else values
            if bits == 8:
                return (values - middle).to(torch.int8 if signed else torch.uint8)
            nibbles = (values - middle).to(torch.int64) & 15
            return stream(_awq_order(nibbles) if reordered else nibbles, 4)

        zero = stored(zeros) if group else stored(zeros.T).reshape(-1)
        scale = scales.T if group else scales.reshape(-1)
        return {"weight": stored(codes), "weight_scale": scale.to(dtype), "weight_zero_point": zero}, meant

    return packing
