"""Building an mlx-lm network from a config.

A network's random parameters are lazy: it costs no memory until it is evaluated, so it also serves to
ask an architecture for its shapes.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from edgelm.zoo.configs.check import check_architecture, check_rope_is_read
from edgelm.zoo.configs.unread import check_settings_are_read
from edgelm.zoo.configs.wrappers import check_text_type
from edgelm.zoo.fixes.activations import use_named_gelu
from edgelm.zoo.fixes.longrope import use_both_factors
from edgelm.zoo.fixes.rotation import use_named_rotation
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
        check_rope_is_read(config, source_of(network_class))
        check_settings_are_read(config)
        check_text_type(config)
        network = network_class(arguments_class.from_dict(config))
    use_named_settings(network, config)
    return network


def use_named_settings(network: Any, config: dict[str, Any]) -> None:
    """Set right, in place, what the architecture's code does otherwise than a normalised `config` says."""
    use_named_gelu(network, config)
    use_named_rotation(network, config, source_of(type(network)))
    use_both_factors(network, config)
    use_named_yarn(network, config)
    use_named_windows(network, config)


def source_of(network_class: type) -> str:
    """Return the text of mlx-lm's module for an architecture."""
    return inspect.getsource(inspect.getmodule(network_class))  # type: ignore[arg-type]
