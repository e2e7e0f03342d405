"""The judge's process: transformers computes one text's logits from the source, a layer's weights in memory at a time.

It is run as a file, imports nothing of edgelm, and runs no code from the checkpoint. Layers stay on the disk until they
run (accelerate's offloading): tensors that transformers only renames are read where they lie, those that it stacks or
splits are written once to a scratch folder. Embedding, norm and head stay in memory. A GGUF transformers reads whole.

    python child.py REQUEST.json

    request: {"directory", "gguf_file" or null, "ids", "scratch", "logits", "report"}
    logits: a .npy file, float32 [T, V]
    report: {"transformers", "torch", "unexpected", "peak_memory_bytes", "elapsed_s"} or {"error"}
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_SHOWN = 4


def main(request: dict[str, Any]) -> dict[str, Any]:
    """Answer `request`, and return the report."""
    started = time.monotonic()
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
    import numpy
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    network, info = _load(request, torch, transformers)
    missing = sorted(info["missing_keys"])
    if missing:
        raise ValueError(f"transformers misses {_few(missing)} in it")
    with torch.no_grad():
        logits = _text_model(network)(input_ids=torch.tensor([request["ids"]]), use_cache=False).logits[0]
    numpy.save(request["logits"], logits.float().numpy())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "unexpected": sorted(info["unexpected_keys"])[:_SHOWN],
        "peak_memory_bytes": peak if sys.platform == "darwin" else peak * 1024,
        "elapsed_s": round(time.monotonic() - started, 1),
    }


def _load(request: dict[str, Any], torch: Any, transformers: Any) -> tuple[Any, dict[str, Any]]:
    directory, gguf_file = request["directory"], request["gguf_file"]
    wanted: dict[str, Any] = {
        "dtype": torch.float32,
        "attn_implementation": "eager",
        "output_loading_info": True,
    }
    if gguf_file is not None:
        config = transformers.AutoConfig.from_pretrained(directory, gguf_file=gguf_file)
        settings = transformers.GgufConfig(gguf_file=gguf_file, dequantize=True)
        return class_of(config).from_pretrained(  # type: ignore[no-any-return]
            directory, config=config, gguf_file=gguf_file, quantization_config=settings, **wanted
        )
    config = transformers.AutoConfig.from_pretrained(directory)
    kind = class_of(config)
    layers = _layer_paths(kind, config)
    network, info = kind.from_pretrained(
        directory,
        config=config,
        device_map=_places(kind, config, layers),
        offload_folder=request["scratch"],
        **wanted,
    )
    _load_by_layer(network, layers)
    return network, info


def class_of(config: Any) -> Any:
    """Return transformers' class that makes logits of text: the auto classes do not list every one."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    )

    mappings = [MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING]
    if "text_config" in config.sub_configs:
        mappings.reverse()
    for mapping in mappings:
        if type(config) in mapping:
            return mapping[type(config)]
    module = type(config).__module__.replace(".configuration_", ".modeling_")
    name = type(config).__name__.removesuffix("Config") + "ForCausalLM"
    package = __import__(module, fromlist=[name])
    if not hasattr(package, name):
        raise ValueError(f"transformers has no class that makes logits of {config.model_type}")
    return getattr(package, name)


def _skeleton(kind: Any, config: Any) -> Any:
    import torch

    with torch.device("meta"):
        return kind(config)


def _layer_paths(kind: Any, config: Any) -> list[str]:
    """Paths of the text model's layers: the list with as many entries as the config says, outside of towers."""
    import torch

    count = config.get_text_config().num_hidden_layers
    lists = [
        path
        for path, module in _skeleton(kind, config).named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == count
    ]
    if not lists:
        return []
    whole = min(
        lists,
        key=lambda path: (
            "layers" not in path and "blocks" not in path and "h" not in path,
            _is_tower(path),
            len(path),
        ),
    )
    return [f"{whole}.{at}" for at in range(count)]


_TOWERS = ("vision", "visual", "audio", "image", "mtp")


def _is_tower(path: str) -> bool:
    return any(tower in path for tower in _TOWERS)


def _places(kind: Any, config: Any, layers: list[str]) -> dict[str, str]:
    """Module → "disk" for layers and for towers, which do not run on text; "cpu" for what is left."""
    places: dict[str, str] = {}

    def place(module: Any, path: str) -> None:
        for name, child in module.named_children():
            inner = f"{path}{name}"
            if inner in layers or _is_tower(inner):
                places[inner] = "disk"
            elif any(layer.startswith(f"{inner}.") for layer in layers):
                place(child, f"{inner}.")
            else:
                places[inner] = "cpu"

    place(_skeleton(kind, config), "")
    return places


def _load_by_layer(network: Any, layers: list[str]) -> None:
    """Have each layer loaded whole when it runs: some compute with weights of submodules that they never call."""
    from accelerate.hooks import AlignDevicesHook, add_hook_to_module, remove_hook_from_module
    from accelerate.utils import PrefixedDataset

    for path in layers:
        layer = network.get_submodule(path)
        weights = next(_weights_maps(layer), None)
        if weights is None:
            continue
        remove_hook_from_module(layer, recurse=True)
        hook = AlignDevicesHook(
            execution_device="cpu",
            offload=True,
            weights_map=PrefixedDataset(weights.dataset, f"{path}."),
            place_submodules=True,
        )
        add_hook_to_module(layer, hook)


def _weights_maps(layer: Any) -> Iterator[Any]:
    for module in layer.modules():
        weights = getattr(getattr(module, "_hf_hook", None), "weights_map", None)
        if weights is not None:
            yield weights


def _text_model(network: Any) -> Any:
    """Return what makes logits of ids: transformers 5.24's Llama 4 needs an image for its whole forward."""
    return network.language_model if network.config.model_type == "llama4" else network


def _few(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def run(request: dict[str, Any]) -> None:
    """Answer `request`, and leave the report, also of whatever ends the process."""
    report = Path(request["report"])

    def tell(_: object, error: BaseException, __: object) -> None:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        report.write_text(json.dumps({"error": words}), encoding="utf-8")

    sys.excepthook = tell
    report.write_text(json.dumps(main(request)), encoding="utf-8")


if __name__ == "__main__":
    run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
