"""The network's tensors under the names that GGUF's tables know.

The tables name tensors as `sanitize` is given them; for all but a few architectures it leaves those names as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")

_WRAPPED = "language_model."
_BIAS = "e_score_correction_bias"
_NEOX = {
    "model.embed_in.": "gpt_neox.embed_in.",
    "model.embed_out.": "embed_out.",
    "model.final_layer_norm.": "gpt_neox.final_layer_norm.",
    "model.h.": "gpt_neox.layers.",
}


def table_names(architecture: str, names: Mapping[str, T], known: str) -> dict[str, T]:
    """Return the tensors, or modules, of `names` under the names of the tables.

    Args:
        architecture: llama.cpp's name of it.
        known: what the tables call the table of embeddings: text models of wrappers may have it one name deeper.
    """
    if architecture == "ernie4_5-moe":
        return {name.replace(_BIAS, f"moe_statics.{_BIAS}"): value for name, value in names.items()}
    if architecture == "gptneox":
        return {_replaced(name): value for name, value in names.items()}
    if known.startswith(_WRAPPED) or not any(name.startswith(_WRAPPED) for name in names):
        return dict(names)
    return {name.removeprefix(_WRAPPED): value for name, value in names.items()}


def _replaced(name: str) -> str:
    start = next((start for start in _NEOX if name.startswith(start)), None)
    return name if start is None else _NEOX[start] + name.removeprefix(start)
