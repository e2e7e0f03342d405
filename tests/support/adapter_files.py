"""The least files that pass for an adapter, in the library of adapters."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx

from edgelm import paths


def write_adapter_named(
    name: str, *, base_sha256: str | None = None, value: float = 0.0, width: int = 64
) -> Path:
    """A LoRA adapter `name` of rank 2, all of whose numbers are `value`; its base is not said where it is None."""
    directory = paths.adapters() / name
    directory.mkdir(parents=True)
    config = {
        "fine_tune_type": "lora", "lora_parameters": {"rank": 2, "scale": 1.0},
        "model": "another", "edgelm": {"base_sha256": base_sha256},
    }  # fmt: skip
    (directory / "adapter_config.json").write_text(json.dumps(config))
    module = "model.layers.0.self_attn.q_proj"
    tensors = {
        f"{module}.lora_a": mx.full((width, 2), value), f"{module}.lora_b": mx.full((2, width), value),
    }  # fmt: skip
    mx.save_safetensors(str(directory / "adapters.safetensors"), tensors)
    return directory
