"""What a converted model is called in the library."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgelm.quant.scheme import is_affine, settings_bits_per_weight
from edgelm_converters.conversion import Conversion
from edgelm_converters.pipeline.decide import usual_dtype
from edgelm_converters.sources.checkpoint import SourceCheckpoint, SourceOrigin
from edgelm_converters.targets.mlx.config_files import dtype_name, prevailing

STORED = re.compile(r"[-._](?:i?q\d\w*|f16|bf16|f32|fp16|mlx|gguf|\d+-?bits?|\d{5}-of-\d{5})$", re.IGNORECASE)
"""The precision, and the part of a split file, that publishers append to a file's or repository's name."""


_GROUP_SIZE = 64
"""The default, which a name does not say."""
_IN_LAYER = re.compile(r"\.(?:layers|h|blocks|blk)\.\d+\.")


def library_name(checkpoint: SourceCheckpoint, config: Mapping[str, Any], wanted: Conversion) -> str:
    """Name a conversion in the library as no other conversion of the same weights is named.

    It says the width (of weights that stay as they are, their real one, where it differs from layer to layer), the mode, and
    what is not as by default: group size, quality, distillation, dtype. It is known before anything is written, so a
    quality that could not be had is in it all the same.
    """
    stored = {**checkpoint.quantization, **checkpoint.requantized}
    foreign = config.get("quantization_config")
    is_packed = bool(stored) or (isinstance(foreign, dict) and "bits" in foreign)
    expected: dict[str, Any] = {"torch_dtype": dtype_name(usual_dtype(checkpoint, wanted))}
    if is_packed and wanted.keeps_packed:
        expected["quantization"] = prevailing(stored) if stored else foreign
    elif wanted.mode != "none":
        expected["quantization"] = {**wanted.scheme().settings}
    name = output_name(checkpoint.origin, expected)
    label = _recipe_label(wanted) or (_mixed_label(checkpoint, stored) if wanted.keeps_packed else None)
    name = f"{name.rpartition('-')[0]}-{label}" if label else name
    return "-".join([name, *_beside_default(wanted, is_packed=is_packed)])


def _recipe_label(wanted: Conversion) -> str | None:
    """The width as a recipe or a budget says it."""
    if wanted.recipe is not None:
        return wanted.recipe.replace("_", "-")
    if wanted.bpw is not None:
        return f"{wanted.bpw:g}bpw"
    budget = wanted.size or wanted.fit
    return re.sub(r"[^a-z0-9.]+", "-", budget.lower()).strip("-") if budget else None


def _mixed_label(checkpoint: SourceCheckpoint, stored: Mapping[str, dict[str, Any]]) -> str | None:
    """The mean width of weights that stay as they are, where the layers do not all have the same one."""
    inside = {
        tuple(sorted(settings.items())) for path, settings in stored.items() if _IN_LAYER.search(f".{path}.")
    }
    if len(inside) < 2:
        return None
    bits = count = 0.0
    for name, tensor in checkpoint.tensors.items():
        path, _, leaf = name.rpartition(".")
        if path in stored and leaf in ("scales", "biases"):
            continue
        size = float(math.prod(tensor.shape))
        if path in checkpoint.quantization and leaf == "weight":
            size *= 32 / checkpoint.quantization[path]["bits"]
        count += size
        bits += size * (settings_bits_per_weight(stored[path]) if path in stored and leaf == "weight" else 16)
    return f"{bits / count:.1f}bpw"


def _beside_default(wanted: Conversion, *, is_packed: bool) -> Iterator[str]:
    """What was asked for beside the width. Weights that arrive quantized and are quantized anew always say how."""
    if wanted.group_size is not None and wanted.mode in (None, "affine") and wanted.group_size != _GROUP_SIZE:
        yield f"g{wanted.group_size}"
    usual = replace(wanted, quality=None, calibration=None, distill=None).method
    is_anew = is_packed and not wanted.keeps_packed and wanted.mode != "none"
    if wanted.method is not usual or (is_anew and not wanted.has_budget):
        yield wanted.method.name
    if wanted.calibration is not None:
        yield f"on-{_plain(Path(wanted.calibration).stem) or 'text'}"
    if wanted.distill is not None:
        yield f"distilled{wanted.distill}"
    if wanted.dtype not in ("auto", "source") and wanted.mode != "none":
        yield {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32"}[wanted.dtype]


def output_name(origin: SourceOrigin, config: dict[str, Any]) -> str:
    """Make a directory name such as `smollm2-135m-instruct-4bit`.

    Args:
        origin: the source; a GGUF is named after its file, anything else after what the user named.
        config: the converted config.json, as far as it is known.
    """
    base = origin.files[0].stem if origin.kind == "gguf" else Path(origin.source).name
    if not _plain(base):  # "." and ".." name a directory by where it is
        base = Path(origin.source).resolve().name
    while STORED.search(base):
        base = STORED.sub("", base)
    base = _plain(base) or "model"
    return f"{base}-{_plain(_precision(config))}"


def _plain(text: str) -> str:
    """Leave out all that a path could be made of: names and modes come from files nobody vouches for."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-.")


def _precision(config: dict[str, Any]) -> str:
    quantization = config.get("quantization")
    if quantization is None:
        return {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32"}.get(
            str(config.get("torch_dtype")), "full"
        )
    if not is_affine(quantization):
        return str(quantization["mode"])
    return f"{quantization['bits']}bit"
