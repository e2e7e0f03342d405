"""What transformers' own code for an architecture looks at, read as text: nothing of torch is imported."""

from __future__ import annotations

import functools
import importlib.util
import re
from pathlib import Path

_LOOKED_UP = re.compile(r"ACT2FN\[config\.(\w+)\]")
_ELSEWHERE = ("mamba_hidden_act", "projector_hidden_act")
"""Activations of mixers and projectors, not of feed-forward layers."""


def activation_keys(kind: str) -> tuple[str, ...]:
    """Return the keys of a text model's config that name the activation of its feed-forward layers."""
    found = dict.fromkeys(_LOOKED_UP.findall(modeling_source(kind)))
    return tuple(key for key in found if key not in _ELSEWHERE)


@functools.cache
def modeling_source(kind: str) -> str:
    """Return the text of transformers' modeling file for a `model_type`, empty if it has none."""
    from transformers.models.auto.configuration_auto import model_type_to_module_name

    folder = model_type_to_module_name(kind)
    if not folder.isidentifier() or importlib.util.find_spec(f"transformers.models.{folder}") is None:
        return ""
    spec = importlib.util.find_spec(f"transformers.models.{folder}.modeling_{folder}")
    if spec is None or spec.origin is None:
        return ""
    return Path(spec.origin).read_text(encoding="utf-8")
