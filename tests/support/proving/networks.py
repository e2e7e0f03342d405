"""transformers' network of a case, with weights under which every setting and every tensor shows."""

from __future__ import annotations

import zlib
from typing import Any

import torch
import transformers

from proving.case import Case


def build(case: Case) -> Any:
    """A seeded network in float32, on the CPU, whose norms, biases, gates, sinks and corrections are all alive."""
    config = case.config()
    torch.manual_seed(zlib.crc32(case.name.encode()))
    network = class_of(config)._from_config(config, attn_implementation="eager").float().eval()
    _enliven(network)
    return network


def class_of(config: Any) -> Any:
    """The class that makes logits of text: the auto classes do not list every one."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    )

    is_wrapper = "text_config" in config.sub_configs
    for mapping in (MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING)[
        :: 1 if is_wrapper else -1
    ]:
        if type(config) in mapping:
            return mapping[type(config)]
    stem = type(config).__name__.removesuffix("Config")
    for name in (f"{stem}ForCausalLM", f"{stem.removesuffix('Text')}ForCausalLM"):
        if hasattr(transformers, name):
            return getattr(transformers, name)
    package = __import__(type(config).__module__.replace("configuration_", "modeling_"), fromlist=["_"])
    return getattr(package, f"{stem}ForCausalLM")


def _enliven(network: torch.nn.Module) -> None:
    """Draw every matrix, and move every vector off where it was: zeros and ones hide what is left out."""
    held = dict(network.named_parameters())
    persistent = network.state_dict(keep_vars=True)
    held |= {name: value for name, value in network.named_buffers() if name in persistent}
    with torch.no_grad():
        for name, value in held.items():
            if not value.is_floating_point() or "running_" in name:
                continue
            if value.ndim > 1 and "A_log" not in name:
                value.normal_(0, 0.3 if "conv" in name else 0.1)
            else:
                value.add_(torch.randn_like(value) * 0.1)


def logits_of(network: Any, ids: list[int]) -> Any:
    """[T, V] in float32, as numpy holds it."""
    # transformers 5.24's Llama 4 needs an image for its whole forward.
    whole = network.language_model if hasattr(network, "language_model") and _is_llama4(network) else network
    with torch.no_grad():
        return whole(input_ids=torch.tensor([ids])).logits[0].float().numpy()


def _is_llama4(network: Any) -> bool:
    return bool(network.config.model_type == "llama4")
