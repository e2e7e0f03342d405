"""Building an mlx-lm network from a config.

A network's random parameters are lazy: it costs no memory until it is evaluated, so it also serves to
ask an architecture for its shapes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgelm.zoo.configs.check import check_architecture
from edgelm.zoo.configs.unread import check_settings_are_read
from edgelm.zoo.configs.wrappers import check_text_type
from edgelm.zoo.fixes.apply import use_named_settings
from edgelm.zoo.fixes.honoured import is_honoured
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
        network = network_class(arguments_class.from_dict(config))
    use_named_settings(network, config)
    return network
