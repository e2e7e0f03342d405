"""All fixes, in the order in which they are applied to a network, and what of it stock mlx-lm would compute otherwise."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgelm.zoo.fixes.activations import use_named_activation, use_named_clamp
from edgelm.zoo.fixes.attention import use_named_attention
from edgelm.zoo.fixes.biases import use_named_biases
from edgelm.zoo.fixes.experts.feed_forward import use_named_layers
from edgelm.zoo.fixes.experts.groups import use_groups_of_experts, use_weight_of_one
from edgelm.zoo.fixes.experts.routing import use_routers
from edgelm.zoo.fixes.longrope import use_both_factors
from edgelm.zoo.fixes.mixers.falcon_h1 import use_all_multipliers
from edgelm.zoo.fixes.mixers.gated_norm import use_groups_of_mamba2
from edgelm.zoo.fixes.mixers.indexer import use_indexers
from edgelm.zoo.fixes.mixers.shared_keys import use_shared_keys
from edgelm.zoo.fixes.norms import use_named_epsilons
from edgelm.zoo.fixes.rotation import use_named_pairs, use_named_rotation
from edgelm.zoo.fixes.scaling import use_named_bases, use_unread_scaling
from edgelm.zoo.fixes.window import use_named_windows
from edgelm.zoo.fixes.yarn import use_named_yarn

Config = dict[str, Any]


@dataclass(frozen=True)
class NetworkFix:
    """One kind of difference between mlx-lm's code and a config."""

    apply: Callable[[Any, Config], None]
    """Changes a network in place, if its normalised config asks for it."""
    words: str = "positions"
    """What of the network is computed as the config says."""
    is_in_weights: bool = False
    """What is converted holds it, so that stock mlx-lm computes the same."""


FIXES = (
    NetworkFix(lambda network, config: use_named_rotation(network, config, source_of(type(network)))),
    NetworkFix(use_named_pairs),
    NetworkFix(use_unread_scaling),
    NetworkFix(use_named_bases),
    NetworkFix(use_both_factors),
    NetworkFix(use_named_yarn),
    NetworkFix(use_named_biases, "biases"),
    NetworkFix(use_named_attention, "attention"),
    NetworkFix(use_named_layers, "feed-forward layers"),
    NetworkFix(use_routers, "the choice of experts"),
    NetworkFix(use_groups_of_experts, "the choice of experts"),
    NetworkFix(use_weight_of_one, "the choice of experts"),
    NetworkFix(use_indexers, "the choice of keys"),
    NetworkFix(use_shared_keys, "keys that layers share"),
    NetworkFix(use_all_multipliers, "multipliers", is_in_weights=True),
    NetworkFix(use_groups_of_mamba2, "norms"),
    NetworkFix(use_named_epsilons, "norms"),
    NetworkFix(use_named_activation, "activations"),
    NetworkFix(use_named_clamp, "activations"),
    NetworkFix(use_named_windows, "sliding windows"),
)


def use_named_settings(network: Any, config: Config) -> None:
    """Set right, in place, what the architecture's code does otherwise than a normalised `config` says.

    Raises:
        UnsupportedError: it cannot be set right.
    """
    changed: dict[str, None] = {}
    before = _state(network)
    for fix in FIXES:
        fix.apply(network, config)
        after = _state(network)
        if after != before and not fix.is_in_weights:
            changed[fix.words] = None
        before = after
    object.__setattr__(network, "_mended", tuple(changed))  # not as a parameter


def mended(network: Any) -> tuple[str, ...]:
    """Return what of a network stock mlx-lm would compute otherwise, in words."""
    found: tuple[str, ...] = vars(network).get("_mended", ())
    return found


def source_of(network_class: type) -> str:
    """Return the text of mlx-lm's module for an architecture."""
    return inspect.getsource(inspect.getmodule(network_class))  # type: ignore[arg-type]


def _state(network: Any) -> dict[str, Any]:
    """What a network computes by beside its weights: classes, names of parameters, plain attributes, tables."""
    return {
        path: (
            type(module),
            tuple(module),
            {name: _plain(value) for name, value in vars(module).items()},
            [id(value) for name, value in module.items() if name[0] == "_"],
        )
        for path, module in network.named_modules()
    }


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str | None) else id(value)
