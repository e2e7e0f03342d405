"""Models in Ollama's form, read off their directories: no weight is loaded."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

from edgelm.errors import PromptError, UnsupportedError
from edgelm.library.models import Installed, describe, files_of
from edgelm.model.load import load_tokenizer
from edgelm.runtime.generation.recommended import recommended
from edgelm.server.names import NamedModel
from edgelm.server.ollama.names import TAG, moment
from edgelm.text.families.family import family_of, template_text
from edgelm.text.prompt import require_tool_support
from edgelm.zoo.configs.normalise import Config, normalise_config, read_config
from edgelm.zoo.weights.bits import count_weights
from edgelm.zoo.weights.files import read_headers

_COUNTS = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "vocab_size": "vocab_size",
}
"""Keys of GGUF → of config.json."""


def listed(named: NamedModel) -> dict[str, Any]:
    """Return one model of a list; one with adapters names its base as its parent.

    Raises:
        FormatError, NotFoundError, UnsafeError: it has no config, or broken weights.
    """
    model = describe(named.directory)
    return {
        "name": named.name + TAG,
        "model": named.name + TAG,
        "modified_at": _modified(named),
        "size": model.size_bytes,
        "digest": digest(named),
        "details": _details(model, named),
    }


def shown(named: NamedModel, *, is_verbose: bool) -> dict[str, Any]:
    """Return all that is known of one model.

    Raises:
        FormatError, NotFoundError, UnsafeError, UnsupportedError: it has no config, no tokenizer, or broken weights.
    """
    directory = named.directory
    model, config = describe(directory), read_config(directory)
    template, capabilities = _abilities(directory, directory.stat().st_mtime_ns)
    settings = recommended(directory).settings
    return {
        "modelfile": f"# served by edgelm\nFROM {named.name}\n",
        "license": model.licence or "",
        "parameters": "\n".join(f"{key} {value:g}" for key, value in settings.items()),
        "template": template,
        "details": _details(model, named),
        "model_info": _info(named, model, config, is_verbose=is_verbose),
        "capabilities": list(capabilities),
        "modified_at": _modified(named),
    }


def _directories(named: NamedModel) -> list[Path]:
    return [named.directory, *(use.directory for use in named.adapters or ())]


def _modified(named: NamedModel) -> str:
    return moment(max(directory.stat().st_mtime for directory in _directories(named)))


def digest(named: NamedModel) -> str:
    """Return what tells one state of a model from another: names, sizes and times of its files, hashed."""
    stats = [
        (path.relative_to(directory).as_posix(), path.stat())
        for directory in _directories(named)
        for path in files_of(directory)
    ]
    text = "\n".join(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats)
    return hashlib.sha256(text.encode()).hexdigest()


def parameter_count(directory: Path) -> int:
    """Return the number of a model's weights, by the headers of its files."""
    headers, config = read_headers(directory), read_config(directory)
    return sum(count_weights(name, info, headers, config) for name, info in headers.items())


def _details(model: Installed, named: NamedModel) -> dict[str, Any]:
    family = model.model_type or ""
    return {
        "parent_model": named.base if named.adapters else "",
        "format": "safetensors",
        "family": family,
        "families": [family],
        "parameter_size": _in_short(parameter_count(named.directory)),
        "quantization_level": _precision(read_config(named.directory), model.bits_per_weight),
    }


def _in_short(count: int) -> str:
    for size, letter in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= size:
            return f"{count / size:.1f}{letter}"
    return str(count)


def _precision(config: Config, bits: float | None) -> str:
    quantization = config.get("quantization")
    if isinstance(quantization, dict) and isinstance(quantization.get("bits"), int):
        mode = quantization.get("mode", "affine")
        return f"{quantization['bits']}-bit" if mode == "affine" else str(mode)
    return {32.0: "F32", 16.0: "F16"}.get(bits or 0.0, "unknown" if bits is None else f"{bits:g}-bit")


def _info(named: NamedModel, model: Installed, config: Config, *, is_verbose: bool) -> dict[str, Any]:
    family, text = model.model_type or "", normalise_config(config)
    info = {
        "general.architecture": family,
        "general.basename": named.base,
        "general.parameter_count": parameter_count(named.directory),
        f"{family}.context_length": model.context_length,
        **{f"{family}.{key}": text.get(own) for key, own in _COUNTS.items()},
    }
    if is_verbose:
        info["general.config"] = dict(config)
    return {key: value for key, value in info.items() if value is not None}


@functools.lru_cache(maxsize=64)
def _abilities(directory: Path, _: int) -> tuple[str, tuple[str, ...]]:
    """The chat template, and what the model can do, as far as template and vocabulary say; by the time of the directory."""
    tokenizer = load_tokenizer(directory, dict(read_config(directory)))
    capabilities = ["completion"]
    try:
        require_tool_support(tokenizer)
        capabilities.append("tools")
    except (UnsupportedError, PromptError):
        pass
    if family_of(tokenizer).can_think:
        capabilities.append("thinking")
    return template_text(tokenizer), tuple(capabilities)
