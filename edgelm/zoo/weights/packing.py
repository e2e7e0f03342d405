"""Weights that other tools packed: which can be run as they are, which are converted first, and one line for any other.

What counts is what the tensors are called and stored as; the config only says which tool did it. A config that speaks of a
packing beside plain weights is left over, and harmless. What runs as it is goes through mlx-lm's own import, under the
architectures whose `sanitize` knows the names (see `edgelm.zoo.weights.network`); what is converted is read by
`edgelm_converters.sources.packings`, for any architecture.
Formats: transformers 5.24, `utils/quantization_config.py` and `quantizers/`; compressed-tensors, `config/format.py`;
ModelOpt, `hf_quant_config.json`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm.errors import UnsupportedError
from edgelm.json_files import read_json
from edgelm.zoo.configs.sources import family_source
from edgelm.zoo.weights.safetensors_header import TensorInfo

Config = Mapping[str, Any]

LABELS = {
    "aqlm": "AQLM", "auto-round": "AutoRound", "awq": "AWQ", "bitnet": "BitNet", "eetq": "EETQ (8-bit)",
    "exl2": "ExLlamaV2 (EXL2)", "exl3": "ExLlamaV3 (EXL3)", "fbgemm_fp8": "FBGEMM FP8",
    "fouroversix": "Four over Six (NVFP4)", "fp8": "FP8", "fp_quant": "FP-Quant", "gemma": "Gemma QAT", "gptq": "GPTQ",
    "higgs": "HIGGS", "hqq": "HQQ", "metal": "transformers' Metal kernels", "modelopt": "NVIDIA ModelOpt",
    "mxfp4": "MXFP4", "mxfp8": "MXFP8", "nvfp4": "NVFP4", "quanto": "Quanto", "quark": "AMD Quark", "sinq": "SINQ",
    "spqr": "SpQR", "vptq": "VPTQ",
}  # fmt: skip
"""`quant_method` → what the format is called, where that is another word."""

CONVERTED = (
    "auto-round", "awq", "bitnet", "bitsandbytes", "compressed-tensors", "fbgemm_fp8", "fp8", "gptq", "hqq", "modelopt",
    "modelopt_fp4", "mxfp4", "mxfp8", "nvfp4", "quark", "torchao",
)  # fmt: skip
"""`quant_method` of what `edgelm_converters.sources.packings` reads."""

_EVIDENCE: tuple[tuple[str, str], ...] = (
    (r"\.(absmax|quant_map|nested_absmax)$|\.quant_state\.bitsandbytes__\w+$|\.(SCB|weight_format)$", "bitsandbytes"),
    (r"\.weight_packed$", "compressed-tensors"),
    (r"\.(q_weight|q_invperm|q_scale|q_scale_max|q_groups)$", "exl2"),
    (r"\.(trellis|suh|svh)$", "exl3"),
    (r"\.(codebooks|codes)$", "aqlm"),
    (r"\.(W_q|W_q\.\w+)$", "hqq"),
    (r"\.(dense_weights|in_perm_stats)$", "spqr"),
    (r"\.(centroids|res_centroids|centroids\.weight|res_indices)$", "vptq"),
    (r"\.weight\._(data|scale)$|\.(weight_qbytes|_qdata)$", "quanto"),
    (r"\._weight_\w+$|\.weight[.:_](qdata|tensor_impl|tensor_data_names)\b", "torchao"),
    (r"\.(qweight|qzeros|g_idx)$", "gptq"),
    (r"\.weight_scale_2$|_weight_scale_2$", "modelopt"),
    (r"\.(qweight_scales|weight_scales)$", "eetq"),
    (r"_blocks$", "mxfp4"),
    (r"\.weight_scale_inv$|_scale_inv$", "fp8"),
    (r"\.weight_scale$|_weight_scale$", "fp8"),
)  # fmt: skip
"""A name of a tensor that only this format writes → the format. The config's word for it comes first."""

_PATTERNS = tuple((re.compile(pattern), method) for pattern, method in _EVIDENCE)
_FLOAT8 = (
    "F8_E4M3",
    "F8_E5M2",
    "F8_E8M0",
    "torch.float8_e4m3fn",
    "torch.float8_e5m2",
    "torch.float8_e4m3fnuz",
)
_CODES = ("U8", "I8", "U32", "I32", "torch.uint8", "torch.int8", "torch.int32")
_INTEGERS = "of integers"
_HINT = "look for a release of the same model in bfloat16, as GGUF or in MLX's format"
_IMPORTED_FORMATS = {
    "nvfp4-pack-quantized": (4, 16),
    "mxfp4-pack-quantized": (4, 32),
    "pack-quantized": (4, 32),
}
"""compressed-tensors' formats that mlx-lm imports, with the only bits and group it takes."""


def with_packing(config: dict[str, Any], directory: Path) -> dict[str, Any]:
    """Return `config` with the settings of a packing under `quantization_config`, wherever the checkpoint keeps them."""
    if "quantization" in config or isinstance(config.get("quantization_config"), dict):
        return config
    text = config.get("text_config")
    nested = text.get("quantization_config") if isinstance(text, dict) else None
    said = nested or config.get("compression_config") or _beside(directory)
    return {**config, "quantization_config": said} if isinstance(said, dict) else config


_FILES = {
    "hf_quant_config.json": "modelopt",
    "quantization_config.json": "auto-round",
    "quantize_config.json": "gptq",
    "quant_config.json": "awq",
}
"""Files in which a tool keeps its settings → the tool, where they do not say it."""


def _beside(directory: Path) -> dict[str, Any] | None:
    for name, method in _FILES.items():
        if (directory / name).is_file():
            return {"quant_method": method, **read_json(directory / name)}
    return None


def check_packing(config: Config, tensors: Mapping[str, TensorInfo], where: object) -> None:
    """Refuse to run weights that are packed in a way that mlx-lm does not import.

    Args:
        config: as `with_packing` gives it.
        tensors: the model's, by name.
        where: what the message calls the model.

    Raises:
        UnsupportedError: in one line, by the format's name, with the command that converts it if one does.
    """
    if "quantization" in config:
        return
    evidence = _evidence(tensors)
    if evidence is None:
        return
    said = _settings(config)
    if _method(said) is None:
        _refuse_integers(evidence, tensors, where)
    method = _method(said) or evidence
    reason = _unread(method, said, tensors, config)
    if reason is None:
        return
    if method in CONVERTED or evidence in CONVERTED:
        raise UnsupportedError(
            f"{where} is packed as {_name(method, said)}{reason}, which edgelm does not run, but converts",
            hint=f"edgelm convert {shlex.quote(str(where))}",
        )
    raise _refusal(method, said, where, reason)


def check_announced_packing(config: Config, where: object) -> None:
    """Refuse, from the config alone and before weights are downloaded, formats that are neither run nor converted.

    Raises:
        UnsupportedError: in one line, by the format's name.
    """
    said = _settings(config)
    method = _method(said)
    if "quantization" in config or method is None or method in CONVERTED:
        return
    reason = _unread(method, said, {}, config)
    if reason is not None:
        raise _refusal(method, said, where, reason)


def refuse_packed(config: Config, tensors: Mapping[str, TensorInfo], where: object) -> None:
    """Refuse `tensors` that are packed, by the name of their format.

    Args:
        config: as `with_packing` gives it.
        tensors: those that no reader of packings has made plain.
        where: what the message calls the model.

    Raises:
        UnsupportedError: in one line.
    """
    evidence = _evidence(tensors)
    if evidence is not None:
        said = _settings(config)
        if _method(said) is None:
            _refuse_integers(evidence, tensors, where)
        raise _refusal(_method(said) or evidence, said, where)


def _refuse_integers(evidence: str, tensors: Mapping[str, TensorInfo], where: object) -> None:
    """Refuse weights of integers that no format has its names beside, by the first one's name."""
    if evidence == _INTEGERS:
        name = next(name for name, info in tensors.items() if _is_integers(name, info))
        raise UnsupportedError(
            f"tensor {name!r} of {where} is {tensors[name].dtype} with no scales beside it, expected floats",
            hint=_HINT,
        )


def _is_integers(name: str, info: TensorInfo) -> bool:
    return info.dtype in _CODES and name.endswith(".weight") and len(info.shape) > 1


def _refusal(method: str, said: Mapping[str, Any], where: object, reason: str = "") -> UnsupportedError:
    return UnsupportedError(
        f"{where} is packed as {_name(method, said)}{reason}, which edgelm does not read", hint=_HINT
    )


def _settings(config: Config) -> Mapping[str, Any]:
    said = config.get("quantization_config")
    if isinstance(said, dict):
        return said
    nested = config.get("text_config")
    said = nested.get("quantization_config") if isinstance(nested, dict) else None
    return said if isinstance(said, dict) else {}


def _method(said: Mapping[str, Any]) -> str | None:
    if said.get("load_in_4bit") or said.get("load_in_8bit"):
        return "bitsandbytes"
    method = said.get("quant_method")
    return str(method).lower().replace("compressed_tensors", "compressed-tensors") if method else None


def _name(method: str, said: Mapping[str, Any]) -> str:
    """The format with what tells it from its kin: "FP8 in blocks of 128 x 128"."""
    label = LABELS.get(method, method)
    if method == "bitsandbytes":
        kind = (
            said.get("bnb_4bit_quant_type", "nf4")
            if said.get("load_in_4bit") or said.get("_load_in_4bit")
            else None
        )
        return f"{label} ({kind})" if kind else label
    block = said.get("weight_block_size")
    if method == "fp8" and isinstance(block, list):
        return f"{label} in blocks of {' x '.join(map(str, block))}"
    detail = said.get("format") or _algorithm(said) or said.get("quant_type") or said.get("weights")
    bits = said.get("bits")
    shown = detail if isinstance(detail, str) else f"{bits}-bit" if isinstance(bits, int) else None
    return f"{label} ({shown})" if shown else label


def _algorithm(said: Mapping[str, Any]) -> Any:
    nested = said.get("quantization")
    return (nested if isinstance(nested, dict) else said).get("quant_algo")


def _evidence(tensors: Mapping[str, TensorInfo]) -> str | None:
    """The format that names and types of the tensors speak for; None for plain weights."""
    found: set[str] = set()
    for name, info in tensors.items():
        found |= {method for pattern, method in _PATTERNS if pattern.search(name)}
        if info.dtype in _FLOAT8:
            found.add("fp8")
        elif _is_integers(name, info):
            found.add(_INTEGERS)
    first = next((method for _, method in _PATTERNS if method in found), None)
    return first or (found.pop() if found else None)


@dataclass(frozen=True)
class _Source:
    """What mlx-lm's code for an architecture knows of packed weights."""

    text: str

    def knows(self, *names: str) -> bool:
        return all(name in self.text for name in names)


def _unread(
    method: str, said: Mapping[str, Any], tensors: Mapping[str, TensorInfo], config: Config
) -> str | None:
    """Why the format is not read, to be put behind its name; None if it is read."""
    source = _Source(family_source(config))
    if method in ("awq", "gptq"):
        return _unread_awq(said, tensors)
    if method == "bitnet":
        return None
    if method == "fp8":
        return _unread_fp8(said, tensors, source)
    if method in ("mxfp4", "mxfp8"):
        known = source.knows("_blocks") if method == "mxfp4" else source.knows("weight_scale_inv")
        return None if known else f" under the architecture {config.get('model_type')}"
    if method == "compressed-tensors":
        bits_and_group = _IMPORTED_FORMATS.get(str(said.get("format")))
        is_read = (
            bits_and_group is not None and source.knows("weight_packed") and _groups(said) == {bits_and_group}
        )
        return None if is_read else ""
    if method == "modelopt":
        return None if _algorithm(said) == "NVFP4" and source.knows("weight_scale_2") else ""
    return ""


def _unread_awq(said: Mapping[str, Any], tensors: Mapping[str, TensorInfo]) -> str | None:
    """mlx-lm unpacks AutoAWQ's GEMM layout of 4 bits, under either name."""
    if said.get("bits", said.get("w_bit", 4)) != 4:
        return ""
    if str(said.get("version", "gemm")).lower() != "gemm":
        return f" of version {said['version']}"
    if any(name.endswith(".g_idx") for name in tensors):
        return " with an order of groups (g_idx)"
    for name, info in tensors.items():
        scales = tensors.get(f"{name.removesuffix('.qweight')}.scales") if name.endswith(".qweight") else None
        if scales is not None and info.shape[-1] * 8 != scales.shape[-1]:
            return " with codes along the input"
    return None


def _unread_fp8(said: Mapping[str, Any], tensors: Mapping[str, TensorInfo], source: _Source) -> str | None:
    block = said.get("weight_block_size")
    if said.get("scale_fmt") == "ue8m0" and block == [32, 32]:
        return None if source.knows("weight_scale_inv") else ""
    if not source.knows("weight_scale_inv", "from_fp8") or (block is not None and block != [128, 128]):
        return ""
    scaled = any(name.endswith("_scale_inv") for name in tensors)
    return None if scaled or not tensors else " without scales"


def _groups(said: Mapping[str, Any]) -> set[tuple[Any, Any]]:
    """(bits, group size) of the symmetric weights of every group of layers."""
    groups = said.get("config_groups")
    weights = [group.get("weights") or {} for group in groups.values()] if isinstance(groups, dict) else []
    return {
        (one.get("num_bits"), one.get("group_size")) if one.get("symmetric", True) else (None, None)
        for one in weights
    }
