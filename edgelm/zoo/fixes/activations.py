"""The activation that the config names, where mlx-lm's architecture has one wired in.

Upstream: mlx_lm 0.32.2. Every model file calls its own activation whatever `hidden_act` says: Llama and its kin `swiglu`,
GPT-NeoX the tanh form of GELU, Gemma, StarCoder2 and GPTBigCode the exact one. Logits are off by 1e-3 (one GELU for the
other) or have nothing to do with the model's. Which key counts is what transformers' own modeling file looks up
(`ACT2FN[config.…]`), and what it says is what the config class makes of it: Gemma's published `"hidden_act": "gelu"` means
the tanh form. Only modules of the network at hand are changed: each gets a subclass whose `__call__` looks up the right
function. Source of the functions: transformers 5.24, activations.py.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from edgelm.errors import UnsupportedError
from edgelm.zoo.configs.defaults import completed
from edgelm.zoo.fixes.classes import derived
from edgelm.zoo.fixes.peers import activation_keys

Activation = Callable[[mx.array], mx.array]

_NAMES: dict[str, str] = {
    "swish": "silu", "gelu_python": "gelu", "gelu_new": "gelu_approx", "gelu_fast": "gelu_approx",
    "gelu_pytorch_tanh": "gelu_approx", "gelu_python_tanh": "gelu_approx", "gelu_accurate": "gelu_approx",
    "quick_gelu": "gelu_fast_approx",
}  # fmt: skip
"""transformers' name → the one in `mlx.nn`, where they differ."""

_FUNCTIONS: dict[str, Activation] = {
    "silu": nn.silu, "gelu": nn.gelu, "gelu_approx": nn.gelu_approx, "gelu_fast_approx": nn.gelu_fast_approx,
    "relu": nn.relu, "relu2": nn.relu2, "relu6": nn.relu6, "leaky_relu": nn.leaky_relu, "sigmoid": nn.sigmoid,
    "tanh": nn.tanh, "mish": nn.mish, "hardswish": nn.hardswish, "linear": lambda x: x,
}  # fmt: skip

_WIRED = ("silu", "gelu_approx", "gelu", "relu2", "relu")
"""What model files call as `nn.NAME`."""

_GATED = {"swiglu": "silu", "geglu": "gelu_approx"}
"""Functions of (gate, x) that model files call → the activation in them."""

_EXPERTS = {"SwiGLU": "silu", "GeGLU": "gelu_approx", "ReLU2": "relu2"}
"""Class of the `activation` of a layer of experts → what it computes."""

_ANY_KEY = ("hidden_activation", "hidden_act", "activation_function")

_MIXERS = ("conv1d", "conv", "conv_1d", "A_log")
"""Children and parameters of recurrent blocks, whose activations are another setting, or none."""


def use_named_activation(network: Any, config: Mapping[str, Any]) -> None:
    """Make the feed-forward modules of `network`, in place, call what a normalised `config` names, if it names something.

    Raises:
        UnsupportedError: it names an activation that edgelm does not have, or the architecture's cannot be changed.
    """
    text = config.get("text_config")
    part = text if isinstance(text, dict) else config
    found = _named(str(part.get("model_type") or config.get("model_type")), part)
    if found is None:
        return
    key, said, usual = found
    wanted = _NAMES.get(said, said)
    modules = [module for _, module in network.named_modules()]
    seen = [_put_right(module, wanted) for module in modules]
    # Gates and convolutions of recurrent blocks go by the same setting in transformers, and are wired here.
    has_mixers = key != "mlp_hidden_act" and any(name in module for module in modules for name in _MIXERS)
    has_own = any("gelu_topk" in _called(module) for module in modules)  # Gemma 3n's sparse layers
    if (has_mixers or has_own or not any(seen)) and wanted != _NAMES.get(usual, usual):
        raise UnsupportedError(
            f"the config says {key} {said!r}, and mlx-lm's {config.get('model_type')} computes {usual!r} whatever it says",
            hint="run the model with transformers",
        )


def _named(kind: str, part: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """The key that transformers goes by, what it says, and what it says usually; None if nothing is said."""
    keys = activation_keys(kind)
    if not keys:  # an architecture that only mlx-lm has, or one without a setting
        name = next((name for name in _ANY_KEY if isinstance(part.get(name), str)), None)
        return None if name is None else (name, part[name], part[name])
    full = completed({**part, "model_type": kind}) or part
    for key in keys:
        said = full.get(key)
        if isinstance(said, str) and said != "xielu":
            usual = completed({"model_type": kind}).get(key)
            return key, said, usual if isinstance(usual, str) else "silu"
    return None


def _called(module: Any) -> tuple[str, ...]:
    call = type(module).__call__
    return call.__code__.co_names if isinstance(call, types.FunctionType) else ()


def use_named_clamp(network: Any, config: Mapping[str, Any]) -> None:
    """Give the experts of a gpt-oss `network`, in place, the slope and the limit that a normalised `config` names.

    Upstream: mlx_lm 0.32.2, models/gpt_oss.py, where both are wired in.
    """
    if config.get("model_type") == "gpt_oss":
        for layer in network.layers:
            activation = layer.mlp.experts.activation
            activation._alpha = float(config.get("swiglu_alpha") or 1.702)
            activation._limit = float(config.get("swiglu_limit") or 7.0)


def _put_right(module: Any, wanted: str) -> bool:
    """Whether `module` calls an activation, which is `wanted` then."""
    call = type(module).__call__
    if not isinstance(call, types.FunctionType) or any(name in module for name in _MIXERS):
        return False
    if not any(isinstance(child, nn.Module) and "weight" in child for child in module.children().values()):
        return False  # a gated norm has an activation, too, that no setting changes
    experts = _EXPERTS.get(type(getattr(module, "activation", None)).__name__)
    if experts is not None:
        if experts != wanted:
            module.activation = _plain(wanted) if experts == "relu2" else _gated(wanted, gate_first=False)
        return True
    names, known = call.__code__.co_names, call.__globals__
    for name, wired in _GATED.items():
        if name in names and name in known:
            if wired != wanted:
                _replace(module, call, {name: _gated(wanted, gate_first=True)})
            return True
    wired_here = next((name for name in _WIRED if name in names), None) if "nn" in known else None
    if wired_here is None or "gelu_topk" in names:
        return False
    if wired_here != wanted:
        _replace(module, call, {"nn": types.SimpleNamespace(**{**vars(nn), wired_here: _plain(wanted)})})
    return True


def _plain(name: str) -> Activation:
    if name not in _FUNCTIONS:
        raise UnsupportedError(
            f"the config asks for the activation {name!r}, which edgelm does not have",
            hint=f"known: {', '.join(sorted({*_NAMES, 'silu', 'relu', 'relu2', 'sigmoid', 'tanh', 'mish'}))}",
        )
    return _FUNCTIONS[name]


def _gated(name: str, *, gate_first: bool) -> Callable[[mx.array, mx.array], mx.array]:
    """`activation(gate) · x`, in the order of arguments that is called for."""
    function = _plain(name)
    if gate_first:
        return lambda gate, x: function(gate) * x
    return lambda x, gate: function(gate) * x


def _replace(module: Any, call: types.FunctionType, functions: Mapping[str, Any]) -> None:
    changed = types.FunctionType(
        call.__code__, {**call.__globals__, **functions}, call.__name__, call.__defaults__, call.__closure__
    )
    module.__class__ = derived(type(module), __call__=changed)
