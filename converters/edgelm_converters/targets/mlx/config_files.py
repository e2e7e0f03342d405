"""config.json and generation_config.json of a converted model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx

from edgelm.atomic import disk_errors
from edgelm.quant.apply import quantization_config
from edgelm_converters.targets.mlx.plan import OutputPlan

_NOT_KEPT = (
    "_name_or_path",
    "quantization",
    "quantization_config",
    "compression_config",
    "dtype",
    "transformers_weights",
)
"""What a config says of the files that it was published with."""


def converted_config(config: dict[str, Any], plan: OutputPlan, left: list[str]) -> dict[str, Any]:
    """Give the normalised `config` the dtype and quantization of `plan`; `left` stay unquantized."""
    converted = {k: v for k, v in config.items() if k not in _NOT_KEPT}
    floats = Counter(dtype for _, dtype in plan.layout.values() if mx.issubdtype(dtype, mx.floating))
    if floats:
        converted["torch_dtype"] = dtype_name(floats.most_common(1)[0][0])
    if not any(name.startswith(("vision_tower", "model.vision")) for name in plan.layout):
        converted.pop("vision_config", None)  # the tower was dropped: mlx-lm reads this as a promise of one
    layers = {**plan.packed, **plan.quantize}
    if layers:
        default = prevailing(layers)
        # Twice: mlx-lm reads the first, the Hub's model pages the second.
        converted["quantization"] = converted["quantization_config"] = quantization_config(
            default, layers, left
        )
    return dict(sorted(converted.items()))


def dtype_name(dtype: mx.Dtype) -> str:
    """Spell a dtype as config.json does: "float16"."""
    return str(dtype).rpartition(".")[2]


def prevailing(layers: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Find the settings that most layers have."""
    counts = Counter(json.dumps(settings, sort_keys=True) for settings in layers.values())
    usual: dict[str, Any] = json.loads(counts.most_common(1)[0][0])
    return usual


def write_configs(config: dict[str, Any], generation: dict[str, Any] | None, directory: Path) -> None:
    """Write the two files into `directory`."""
    for name, value in (("config.json", config), ("generation_config.json", generation)):
        if value is not None:
            with disk_errors(directory / name):
                (directory / name).write_text(
                    json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
                )
