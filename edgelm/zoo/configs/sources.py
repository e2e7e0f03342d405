"""The source text of mlx-lm's architectures: what a module reads of a config and of a checkpoint, without importing it."""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

_SIBLING = re.compile(r"^from \.(\w*) import ([\w ,]+|\([\w\s,]+\))", re.MULTILINE)

_POST_INIT = re.compile(r"^    def __post_init__\(self\).*?(?=^\S|^    def |\Z)", re.MULTILINE | re.DOTALL)

ALIASES = {"lfm2_vl": "lfm2-vl"}
"""transformers' `model_type` → the one that mlx-lm knows, where they differ."""

SAME_CLASS = {"bailing_moe_v3": "bailing_hybrid"}
"""mlx-lm's architecture → transformers' `model_type` for it, where they differ and both are known."""

_TEXTS = {"gemma4_unified_text": "gemma4_text"}
"""`model_type` of a text model → mlx-lm's module, where no table of mlx-lm's says it."""


def module_spec(model_type: str) -> ModuleSpec | None:
    """Find mlx-lm's module for an architecture, without importing it; None if it has none."""
    from mlx_lm.utils import MODEL_REMAPPING

    model_type = ALIASES.get(model_type, model_type)
    name = _TEXTS.get(model_type, MODEL_REMAPPING.get(model_type, model_type))
    found = importlib.util.find_spec(f"mlx_lm.models.{name}")
    if found is None and name.endswith("_text"):  # within its wrapper's
        return module_spec(name.removesuffix("_text"))
    return found


def has_own_module(model_type: str) -> bool:
    """Return whether mlx-lm runs an architecture by its own name, and not as the text model of another one."""
    from mlx_lm.utils import MODEL_REMAPPING

    name = _TEXTS.get(model_type, MODEL_REMAPPING.get(model_type, model_type))
    return importlib.util.find_spec(f"mlx_lm.models.{name}") is not None


def module_source(model_type: object) -> str:
    """Read the text of mlx-lm's module for an architecture, empty if it has none."""
    if not isinstance(model_type, str) or not model_type.replace("_", "").replace("-", "").isalnum():
        return ""
    spec = module_spec(model_type)
    return _text(spec.origin) if spec is not None and spec.origin is not None else ""


def family_source(config: Mapping[str, Any]) -> str:
    """Read the text of the module for a config, and of the one that it hands its text model to."""
    own = module_source(config.get("model_type"))
    text = config.get("text_config")
    inner = module_source(text.get("model_type")) if isinstance(text, dict) else ""
    if not isinstance(text, dict):
        return own
    return own + (inner or "".join(module_source(name) for name in siblings(own)))


def without_checks(source: str) -> str:
    """Return the text of a module without what its settings check and derive of each other: a look there computes nothing."""
    return _POST_INIT.sub("", source)


def siblings(source: str) -> list[str]:
    """List the modules of mlx_lm.models that a module imports."""
    found: list[str] = []
    for match in _SIBLING.finditer(source):
        found += [match[1]] if match[1] else re.findall(r"\w+", match[2])
    return found


@functools.cache
def _text(origin: str) -> str:
    return Path(origin).read_text(encoding="utf-8")
