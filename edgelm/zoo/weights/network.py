"""A network filled from a model directory: what `mlx_lm.utils.load_model` does, from the files that make the model.

mlx-lm takes every `model*.safetensors` that a glob of the path finds, in no order: a second save in the folder is mixed
in, and a folder with a bracket in its name is empty. Which files and tensors count is the answer of
`edgelm.zoo.weights.files` here; the packings that mlx-lm imports are still its own code. Source of the settings:
mlx_lm 0.32.2, utils.py, `load_model`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from edgelm.zoo.guards import keep_file_limit, mlx_lm_errors
from edgelm.zoo.network import build_network
from edgelm.zoo.protocol import sanitized_weights
from edgelm.zoo.tree import flat_parameters
from edgelm.zoo.weights.buffers import buffers_in, refuse_other_types
from edgelm.zoo.weights.files import load_arrays
from edgelm.zoo.weights.head import settle_arrays
from edgelm.zoo.weights.layout import arranged_arrays

Settings = dict[str, Any]

_FIXED: dict[str, Settings] = {
    "mxfp4": {"group_size": 32, "bits": 4, "mode": "mxfp4"},
    "mxfp8": {"group_size": 32, "bits": 8, "mode": "mxfp8"},
}
"""Formats of one setting."""


def load_network(directory: Path, config: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Load the network of a normalised config with the weights of `directory` as they are stored, not read yet.

    Returns:
        The network, and the config as its tensors want it (see `edgelm.zoo.weights.head`).

    Raises:
        NotFoundError, UnsafeError: see `edgelm.zoo.weights.files`.
        FormatError: a tensor is missing, extra or misshapen.
        UnsupportedError: mlx-lm does not have the architecture, or does not import the packing.
    """
    config, arrays = settle_arrays(
        config, arranged_arrays(config, load_arrays(directory), directory), directory
    )
    network = build_network(config, directory)
    with keep_file_limit(), mlx_lm_errors(directory):
        settings = fill(network, arrays, config)
    return network, {**config, "quantization": settings} if settings else config


def fill(network: Any, weights: dict[str, mx.array], config: Mapping[str, Any]) -> Settings | None:
    """Give a fresh `network` its weights under the names of the checkpoint, packed modules as packed ones.

    Returns:
        What config.json has to say under `quantization` of the packed modules; None if there are none.
    """
    weights = sanitized_weights(network, weights)
    settings = config.get("quantization")
    if isinstance(settings, dict):
        _quantize(network, weights, settings)
    elif isinstance(config.get("quantization_config"), dict):
        weights, settings = _import(network, weights, config["quantization_config"])
    network.eval()
    known = flat_parameters(network)
    for name in buffers_in(weights, known):
        del weights[name]
    refuse_other_types(weights, known)
    network.load_weights(list(weights.items()), strict=True)
    return settings


def save_network(directory: Path, network: Any) -> None:
    """Write the parameters of `network` to `directory` as mlx-lm does: model.safetensors, or shards with an index."""
    with keep_file_limit():
        from mlx_lm.utils import save_model
    save_model(directory, network)


def _import(
    network: Any, weights: dict[str, mx.array], said: Settings
) -> tuple[dict[str, mx.array], Settings | None]:
    """Weights that another tool packed, as mlx-lm imports them, and how they are packed then."""
    from mlx_lm.models.bitlinear_layers import bitnet_quantize
    from mlx_lm.utils import _transform_awq_weights

    method = str(said.get("quant_method"))
    if method == "bitnet":
        bitnet_quantize(network, said)
        return weights, None
    settings = _settings_of(method, said)
    if method in ("awq", "gptq") and any(name.endswith(".qweight") for name in weights):
        weights, settings = _transform_awq_weights(weights, said)
    if settings is not None:
        _quantize(network, weights, settings)
    return weights, settings


def _settings_of(method: str, said: Settings) -> Settings | None:
    from mlx_lm.utils import _compressed_tensors_quantization

    if method in _FIXED:
        return _FIXED[method]
    if method == "fp8":  # other scales are multiplied in by the architecture's own sanitize
        is_mxfp8 = said.get("scale_fmt") == "ue8m0" and list(said.get("weight_block_size") or ()) == [32, 32]
        return _FIXED["mxfp8"] if is_mxfp8 else None
    if method == "compressed-tensors":
        settings: Settings = _compressed_tensors_quantization(said)
        return settings
    if method == "modelopt":
        nested = said.get("quantization", said)
        return {"group_size": nested.get("group_size", 16), "bits": 4, "mode": "nvfp4"}
    return None


def _quantize(network: Any, weights: Mapping[str, mx.array], said: Settings) -> None:
    """Turn the modules whose scales are there into packed ones; those that `said` does not name are told from their shapes."""

    def choose(path: str, module: Any) -> Any:
        if path in said:
            return said[path]
        if not hasattr(module, "to_quantized") or f"{path}.scales" not in weights:
            return False
        return packed_as(path, module, weights)

    nn.quantize(
        network,
        group_size=said["group_size"],
        bits=said["bits"],
        mode=said.get("mode", "affine"),
        class_predicate=choose,
    )


def packed_as(path: str, module: Any, tensors: Mapping[str, Any]) -> Settings:
    """Tell from their shapes how the tensors of a module are packed: a config need not name every layer's width.

    Args:
        module: not packed, for the width of its rows.
        tensors: by name, with `shape` and `dtype`.

    Raises:
        ValueError: MLX packs nothing in such shapes.
    """
    from mlx_lm.utils import _takes_global_scale, infer_quant_config

    settings: Settings = infer_quant_config(path, module, tensors)
    if f"{path}.global_scale" in tensors and _takes_global_scale(module):
        settings["global_scale"] = True
    return settings
