"""A network written as people meet it: as transformers 5 saves it, and as the Hub published it before that.

The tensors are the same where `save_pretrained` reverses what transformers does on loading, which it does by default;
config.json differs for nearly every family, since transformers 5 renamed keys, nested those of RoPE, and writes what it
once derived.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from checkpoints import write_tokenizer

from proving.case import DROP, KEEP, Case

LAYOUTS = ("transformers", "published")


def write(network: Any, case: Case, layout: str, directory: Path) -> None:
    """Publish the network of `case` in `directory`, with a tokenizer."""
    fused = layout == "published" and case.definition.fused
    network.save_pretrained(directory, save_original_format=not fused)
    _copy_tokenizer(directory)
    if layout == "published":
        _rewrite_config(directory / "config.json", case)
        if case.definition.renamed:
            _rename_tensors(directory / "model.safetensors", case.definition.renamed)


def contents(directory: Path) -> tuple[Any, dict[str, tuple[int, ...]]]:
    """What tells two layouts apart: the config, and the names and shapes of the tensors."""
    shapes = {}
    with safetensors.safe_open(directory / "model.safetensors", "pt") as file:
        for name in file.keys():  # noqa: SIM118 - not a dictionary
            shapes[name] = tuple(file.get_slice(name).get_shape())
    return json.loads((directory / "config.json").read_text()), shapes


def published_config(config: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A config of transformers 5 with the keys of transformers 4."""
    found = dict(config)
    if "dtype" in found:
        found["torch_dtype"] = found.pop("dtype")
    _flatten_rope(found, changes)
    for key, value in found.items():
        if isinstance(value, dict) and key.endswith("_config"):
            found[key] = published_config(value, changes.get(key, {}))
    for key, value in changes.items():
        if value is DROP:
            found.pop(key, None)
        elif value is KEEP:
            continue
        elif not isinstance(value, dict) or not isinstance(found.get(key), dict):
            found[key] = value
    return found


def _flatten_rope(config: dict[str, Any], changes: Mapping[str, Any]) -> None:
    rope = config.get("rope_parameters")
    if not isinstance(rope, dict) or "rope_theta" not in rope or "rope_parameters" in changes:
        return
    del config["rope_parameters"]
    config["rope_theta"] = rope["rope_theta"]
    if "partial_rotary_factor" in rope:
        config["partial_rotary_factor"] = rope["partial_rotary_factor"]
    scaling = {k: v for k, v in rope.items() if k not in ("rope_theta", "partial_rotary_factor", "rope_type")}
    kind = rope["rope_type"]
    name = "rope_type" if kind == "llama3" else "type"  # Llama 3.1 was the first to say it so
    config["rope_scaling"] = {name: kind, **scaling} if scaling or kind != "default" else None


def _rewrite_config(path: Path, case: Case) -> None:
    config = json.loads(path.read_text())
    path.write_text(json.dumps(published_config(config, case.published), indent=2))


def _rename_tensors(path: Path, renamed: tuple[tuple[str, str], ...]) -> None:
    tensors = safetensors.torch.load_file(path)
    for pattern, replacement in renamed:
        tensors = {re.sub(pattern, replacement, name): tensor for name, tensor in tensors.items()}
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})


_tokenizer: list[Path] = []


def _copy_tokenizer(directory: Path) -> None:
    """Training one takes longer than the rest of a case."""
    if not _tokenizer:
        kept = Path(tempfile.mkdtemp(prefix="tokenizer-"))
        write_tokenizer(kept)
        _tokenizer.append(kept)
    shutil.copytree(_tokenizer[0], directory, dirs_exist_ok=True)
