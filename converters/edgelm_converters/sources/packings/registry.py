"""The formats in the order in which they are asked, and a checkpoint presented by the first that recognises it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgelm.zoo.weights.packing import refuse_packed
from edgelm.zoo.weights.safetensors_header import TensorInfo
from edgelm_converters.sources.checkpoint import SourceCheckpoint
from edgelm_converters.sources.packings.compressed_tensors.checkpoint import CompressedTensorsFormat
from edgelm_converters.sources.packings.float8.formats import SmallFloatFormat
from edgelm_converters.sources.packings.lookup.bitsandbytes import BitsAndBytes4Bit
from edgelm_converters.sources.packings.modelopt import ModelOptFormat
from edgelm_converters.sources.packings.packed_format import PackedFormat, PackedSource, Presented
from edgelm_converters.sources.packings.uniform.auto_round import AutoRound
from edgelm_converters.sources.packings.uniform.awq import AWQ
from edgelm_converters.sources.packings.uniform.bitnet import BitNet
from edgelm_converters.sources.packings.uniform.gptq import GPTQ
from edgelm_converters.sources.packings.uniform.hqq import HQQ
from edgelm_converters.sources.packings.uniform.llm_int8 import LLMInt8
from edgelm_converters.sources.packings.uniform.quark import QuarkIntegers
from edgelm_converters.sources.packings.uniform.torchao import TorchAO

FORMATS: tuple[PackedFormat, ...] = (
    CompressedTensorsFormat(),
    ModelOptFormat(),
    AutoRound(),
    AWQ(),
    BitNet(),
    QuarkIntegers(),
    BitsAndBytes4Bit(),
    LLMInt8(),
    TorchAO(),
    HQQ(),
    GPTQ(),
    SmallFloatFormat(),
)
"""A format is a line here. Those that settings name come before those that only tensors tell."""


def unpacked_checkpoint(checkpoint: SourceCheckpoint, directory: Path) -> SourceCheckpoint:
    """Return `checkpoint` with its packed modules as plain or MLX-packed tensors, and a config that speaks of no packing.

    A checkpoint that MLX packed itself is returned as it is; so is one that is not packed, but for what its config says.

    Args:
        checkpoint: with the config that `edgelm.zoo.weights.packing.with_packing` gives.
        directory: what messages call it.

    Raises:
        FormatError: see `PackedFormat.present`.
        UnsupportedError: it is packed in a way that is not read, by name.
    """
    if "quantization" in checkpoint.config:
        return checkpoint
    said = checkpoint.config.get("quantization_config")
    settings = said if isinstance(said, dict) else {}
    source = PackedSource(
        checkpoint.tensors, settings, checkpoint.config, str(directory), checkpoint.origin.files
    )
    result = Presented(tensors=dict(checkpoint.tensors))
    for each in FORMATS:
        if each.recognise(source):
            result = presented_by(each, source)
            break
    left_alone = {name: each for name, each in result.tensors.items() if each is checkpoint.tensors.get(name)}
    headers = {name: TensorInfo(each.stored_as, each.shape, 0, 0) for name, each in left_alone.items()}
    refuse_packed(checkpoint.config, headers, directory)
    return dataclasses.replace(
        checkpoint,
        config=plain_config(checkpoint.config),
        tensors=result.tensors,
        quantization=result.quantization,
        requantized=result.requantized,
        notes=tuple(result.notes),
    )


def presented_by(packing: PackedFormat, source: PackedSource) -> Presented:
    """Return what `packing` makes of a checkpoint that it recognises, with the tensors that it leaves alone."""
    result = Presented()
    packing.present(source, result)
    rest = {name: tensor for name, tensor in source.tensors.items() if name not in result.used}
    result.tensors = {**rest, **result.tensors}
    return result


def plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return `config` without what it says of a packing: nothing is packed as it says any more."""
    said = ("quantization_config", "compression_config")
    plain = {key: value for key, value in config.items() if key not in said}
    text = plain.get("text_config")
    if isinstance(text, dict):
        plain["text_config"] = {key: value for key, value in text.items() if key not in said}
    return plain
