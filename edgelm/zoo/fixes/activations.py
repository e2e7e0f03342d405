"""GELU as the config names it, where mlx-lm's architecture has one variant wired in.

GPT-NeoX in mlx-lm always uses the tanh approximation, StarCoder2 and GPTBigCode always the exact form, whatever
`hidden_act` says: logits are off by 1e-3 without a word. Only the modules of the network at hand are
changed: each gets a subclass whose `__call__` looks up the right function.
"""

from __future__ import annotations

import types
from typing import Any

import mlx.nn as nn

EXACT = ("gelu",)
TANH = ("gelu_pytorch_tanh", "gelu_new", "gelu_fast")
"""transformers' names (transformers/activations.py)."""


def use_named_gelu(network: Any, config: dict[str, Any]) -> None:
    """Make the modules of `network` that call a GELU call the one that `config` names, if it names one."""
    named = config.get("hidden_activation") or config.get("hidden_act") or config.get("activation_function")
    if named in EXACT:
        wired, wanted = "gelu_approx", nn.gelu
    elif named in TANH:
        wired, wanted = "gelu", nn.gelu_approx
    else:
        return
    for _, module in network.named_modules():
        call = type(module).__call__
        if (
            isinstance(call, types.FunctionType)
            and wired in call.__code__.co_names
            and "nn" in call.__globals__
        ):
            module.__class__ = _with_gelu(type(module), call, wired, wanted)


def _with_gelu(kind: type, call: types.FunctionType, wired: str, wanted: Any) -> type:
    functions = types.SimpleNamespace(**{**vars(nn), wired: wanted})
    changed = types.FunctionType(
        call.__code__,
        {**call.__globals__, "nn": functions},
        call.__name__,
        call.__defaults__,
        call.__closure__,
    )
    return type(kind.__name__, (kind,), {"__call__": changed, "__module__": kind.__module__})
