"""Files of Ollama's own converter, as llama.cpp would have written their text model.

Ollama puts a model that sees into one file: the text model's tensors and its towers' (`v.*`, `mm.*`, `a.*`), with keys for
both. What is not the text model's is left out and told. Some of its files lack keys that its engine has in its code, or have
one that the engine passes over: they are added and taken away here, as the engine does. Sources: ollama,
convert/convert_gemma3.go, convert_qwen25vl.go, convert_mistral.go, convert_qwen3vl.go; model/models/gemma3/model_text.go
(`newTextModel`).
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from typing import Any

from edgelm.units import count
from edgelm_converters.sources.gguf.parts import GGUFModel

TOWER_TENSOR = re.compile(r"(?P<tower>v|mm|a|s)\..+")
TOWER_KEY = re.compile(
    r"(vision|audio|mm)\..+|image_token_(index|id)|(vision_(start|end)|video)_token_id|spatial_merge_size"
)
TOWERS = {"v": "images", "mm": "what joins both", "a": "sound", "s": "sound"}

ALIASES = {"qwen25vl": "qwen2vl"}
"""Ollama's name of an architecture → llama.cpp's."""

GEMMA3_1B, GEMMA3_SEEING = 26, (34, 48, 62)
"""Layers, by which Ollama's engine tells the sizes of Gemma 3."""


def as_llama_cpp(model: GGUFModel) -> tuple[GGUFModel, list[str]]:
    """Return the text model of `model` under llama.cpp's names, and notes of what was left out, added or taken away."""
    towers = Counter(match["tower"] for match in map(TOWER_TENSOR.fullmatch, model.tensors) if match)
    name = model.metadata.get("general.architecture")
    if not isinstance(name, str):
        return model, []
    own, notes = _own_keys(model.metadata, name), []
    if towers:
        what = " and ".join(dict.fromkeys(TOWERS[tower] for tower in sorted(towers, reverse=True)))
        notes.append(
            f"left out {count(sum(towers.values()), 'tensor')} for {what}: only the text model is converted"
        )
        own = {key: value for key, value in own.items() if not TOWER_KEY.fullmatch(key)}
    if name == "gemma3":
        own, changes = _gemma3(own, has_towers=bool(towers))
        notes += changes
    architecture = ALIASES.get(name, name)
    others = {key: value for key, value in model.metadata.items() if not key.startswith(f"{name}.")}
    metadata = {**others, "general.architecture": architecture}
    metadata |= {f"{architecture}.{key}": value for key, value in own.items()}
    tensors = {key: tensor for key, tensor in model.tensors.items() if not TOWER_TENSOR.fullmatch(key)}
    return dataclasses.replace(model, metadata=metadata, tensors=tensors), notes


def _own_keys(metadata: dict[str, Any], architecture: str) -> dict[str, Any]:
    start = f"{architecture}."
    return {key.removeprefix(start): value for key, value in metadata.items() if key.startswith(start)}


def _gemma3(keys: dict[str, Any], *, has_towers: bool) -> tuple[dict[str, Any], list[str]]:
    """What Ollama's engine corrects in its first Gemma 3 files, and what its converter leaves to the engine."""
    keys = dict(keys)
    notes = []
    if "rope.local.freq_base" in keys:
        keys.setdefault("rope.freq_base_swa", keys.pop("rope.local.freq_base"))
    if keys.get("block_count") == GEMMA3_1B and keys.pop("final_logit_softcapping", None) is not None:
        notes.append(
            "final_logit_softcapping is passed over: Gemma 3 has none, and the first files for Ollama say one"
        )
    if not has_towers:
        return keys, notes
    added: dict[str, Any] = {}
    if "attention.layer_norm_rms_epsilon" not in keys:
        added["attention.layer_norm_rms_epsilon"] = 1e-6
    if keys.get("block_count") in GEMMA3_SEEING and not any(key.startswith("rope.scaling.") for key in keys):
        added |= {"rope.scaling.type": "linear", "rope.scaling.factor": 8.0}
    if added:
        said = ", ".join(f"{key} {value}" for key, value in added.items())
        notes.append(f"the file lacks what Gemma 3 of this size has, which is added: {said}")
    return {**keys, **added}, notes
