"""What a converted model is called in the library."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edgelm_converters.checkpoint import Origin

STORED = re.compile(r"[-._](?:i?q\d\w*|f16|bf16|f32|fp16|mlx|gguf|\d+-?bits?|\d{5}-of-\d{5})$", re.IGNORECASE)
"""The precision, and the part of a split file, that publishers append to a file's or repository's name."""


def output_name(origin: Origin, config: dict[str, Any]) -> str:
    """A directory name such as `smollm2-135m-instruct-4bit`.

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
    """Without anything that a path could be made of: names and modes come from files nobody vouches for."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-.")


def _precision(config: dict[str, Any]) -> str:
    quantization = config.get("quantization")
    if quantization is None:
        return {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32"}.get(
            str(config.get("torch_dtype")), "full"
        )
    if quantization.get("mode", "affine") != "affine":
        return str(quantization["mode"])
    return f"{quantization['bits']}bit"
