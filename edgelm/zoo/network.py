"""Building an mlx-lm network from a config.

A network's random parameters are lazy: it costs no memory until it is evaluated, so it also serves to
ask an architecture for its shapes.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from edgelm.zoo.configs.check import check_architecture
from edgelm.zoo.configs.unread import check_settings_are_read
from edgelm.zoo.configs.wrappers import check_text_type
from edgelm.zoo.fixes.activations import use_named_activation
from edgelm.zoo.fixes.attention import use_named_attention
from edgelm.zoo.fixes.biases import use_named_biases
from edgelm.zoo.fixes.experts.feed_forward import use_named_layers
from edgelm.zoo.fixes.experts.groups import use_groups_of_experts
from edgelm.zoo.fixes.experts.routing import use_routers
from edgelm.zoo.fixes.honoured import is_honoured
from edgelm.zoo.fixes.longrope import use_both_factors
from edgelm.zoo.fixes.mixers.falcon_h1 import use_all_multipliers
from edgelm.zoo.fixes.mixers.gated_norm import use_groups_of_mamba2
from edgelm.zoo.fixes.mixers.indexer import use_indexers
from edgelm.zoo.fixes.rotation import use_named_rotation
from edgelm.zoo.fixes.scaling import constructible, use_named_bases, use_unread_scaling
from edgelm.zoo.fixes.window import use_named_windows
from edgelm.zoo.fixes.yarn import use_named_yarn
from edgelm.zoo.guards import keep_file_limit, mlx_lm_errors


def build_network(config: dict[str, Any], directory: Path) -> Any:
    """Build an mlx-lm network for a normalised config, with random parameters that cost nothing until evaluated.

    Raises:
        UnsupportedError: mlx-lm has no such architecture, or ignores a RoPE scaling the config asks for.
        FormatError: the config lacks what the architecture needs.
    """
    with keep_file_limit():
        from mlx_lm.utils import _get_classes

    check_architecture(config)
    with mlx_lm_errors(directory):
        network_class, arguments_class = _get_classes(config)
        check_settings_are_read(config, is_honoured)
        check_text_type(config)
        network = network_class(arguments_class.from_dict(constructible(config)))
    use_named_settings(network, config)
    return network


def use_named_settings(network: Any, config: dict[str, Any]) -> None:
    """Set right, in place, what the architecture's code does otherwise than a normalised `config` says.

    Raises:
        UnsupportedError: it cannot be set right.
    """
    source = source_of(type(network))
    use_named_rotation(network, config, source)
    use_unread_scaling(network, config)
    use_named_bases(network, config)
    use_both_factors(network, config)
    use_named_yarn(network, config)
    use_named_biases(network, config)
    use_named_attention(network, config)
    use_named_layers(network, config)
    use_routers(network, config)
    use_groups_of_experts(network, config)
    use_indexers(network, config)
    use_all_multipliers(network, config)
    use_groups_of_mamba2(network, config)
    use_named_activation(network, config)
    use_named_windows(network, config)


def source_of(network_class: type) -> str:
    """Return the text of mlx-lm's module for an architecture."""
    return inspect.getsource(inspect.getmodule(network_class))  # type: ignore[arg-type]
