"""Deciding how each layer of a network is quantized, without reading a weight.

`decide` walks the modules, honours the architecture's own `quant_predicate` (8-bit routers, say), and
falls back to a smaller group where a row does not divide; what it did instead of what was asked is listed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import mlx.nn as nn

from edgelm.quant.recipes import Predicate
from edgelm.quant.scheme import Scheme, Settings, fit_group, mode_of
from edgelm.zoo.tree import leaf_modules


@dataclass(frozen=True)
class Decision:
    """Settings by module path, and the layers that did not get what was asked."""

    layers: dict[str, Settings] = field(default_factory=dict)
    asked: dict[str, Settings] = field(default_factory=dict)
    """What each layer would have got, had its width allowed it."""
    regrouped: dict[str, int] = field(default_factory=dict)
    """Path → the smaller group size its width forced."""
    left: dict[str, int] = field(default_factory=dict)
    """Path → the width no group divides; left unquantized."""
    expected_kl: dict[str, float] = field(default_factory=dict)
    """Path → mean KL in nats with that module alone quantized, where a budget needed to know."""


def quantizable(network: Any) -> dict[str, Any]:
    """List the modules that have a quantized form, by path, in parameter order."""
    return {path: module for path, module in leaf_modules(network).items() if hasattr(module, "to_quantized")}


def decide(network: Any, scheme: Scheme, predicate: Predicate | None = None) -> Decision:
    """Decide what each layer of `network` becomes under `scheme`.

    Args:
        network: an unquantized mlx-lm network; only shapes are looked at.
        predicate: a recipe; None takes the architecture's own `quant_predicate`, if it has one.
    """
    decision = Decision()
    choose: Callable[[str, Any], Any] = (
        predicate or getattr(network, "quant_predicate", None) or (lambda *_: True)
    )
    for path, module in quantizable(network).items():
        chosen = choose(path, module)
        if chosen is False:
            continue
        settings = completed(chosen, scheme) if isinstance(chosen, dict) else scheme.settings
        decision.asked[path] = settings
        fitting = fit_group(settings, module.weight.shape[-1])
        if fitting is None:
            decision.left[path] = module.weight.shape[-1]
            continue
        if fitting is not settings:
            decision.regrouped[path] = fitting["group_size"]
        decision.layers[path] = fitting
    return decision


def completed(chosen: Settings, scheme: Scheme) -> Settings:
    """Give what an architecture or recipe chose for one layer the settings that it leaves out.

    The pairs of group and bits that mlx-lm's architectures ask for (64 and 8 for routers, say) are affine ones: a
    block format has only its own, so beside one their mode is said.
    """
    mode = chosen.get("mode", "affine")
    if mode == scheme.mode:
        return {**scheme.settings, **chosen}
    return {**Scheme(mode, bits=chosen.get("bits"), group_size=chosen.get("group_size")).settings, **chosen}


def apply_settings(network: Any, layers: dict[str, Settings]) -> None:
    """Replace the modules at the paths of `layers` by their quantized forms (lazily)."""
    if not layers:
        return
    first = next(iter(layers.values()))
    nn.quantize(
        network,
        first["group_size"],
        first["bits"],
        mode=mode_of(first),
        class_predicate=lambda path, _: layers.get(path, False),
    )


def quantization_config(scheme: Settings, layers: dict[str, Settings], skipped: list[str]) -> dict[str, Any]:
    """Build the `quantization` entry of config.json: the default, and every layer that differs from it."""
    different = {path: settings for path, settings in layers.items() if settings != scheme}
    return {**scheme, **different, **dict.fromkeys(skipped, False)}
