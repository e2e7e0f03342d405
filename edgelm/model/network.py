"""Building an mlx-lm network from a config, and what has to surround every call into mlx_lm.

A network's random parameters are lazy: it costs no memory until it is evaluated, so it also serves to
ask an architecture for its shapes.
"""

from __future__ import annotations

import inspect
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgelm.errors import EdgeLMError, FormatError
from edgelm.model.activations import use_named_gelu
from edgelm.model.config import check_architecture, check_rope_is_read


@contextmanager
def mlx_lm_errors(directory: Path) -> Iterator[None]:
    """Translate what mlx-lm, MLX and transformers raise while loading `directory`."""
    try:
        yield
    except EdgeLMError:
        raise
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        OSError,
        AssertionError,
        ImportError,
    ) as error:
        reason = str(error) or type(error).__name__
        if isinstance(error, KeyError):
            reason = f"missing key or tensor {reason}"
        raise FormatError(f"{directory} cannot be loaded: {reason}") from error


@contextmanager
def keep_file_limit() -> Iterator[None]:
    """Import mlx_lm inside this: it lowers the hard limit of open files to 4096 (utils.py:39).

    Only root can raise a hard limit again, so the call is kept from happening instead of undone.
    """
    real = resource.setrlimit
    resource.setrlimit = lambda *_: None
    try:
        yield
    finally:
        resource.setrlimit = real


def build_network(config: dict[str, Any], directory: Path) -> Any:
    """An mlx-lm network with random parameters that cost nothing until evaluated, for a normalised config.

    Raises:
        UnsupportedError: mlx-lm has no such architecture, or ignores a RoPE scaling the config asks for.
        FormatError: the config lacks what the architecture needs.
    """
    with keep_file_limit():
        from mlx_lm.utils import _get_classes

    check_architecture(config)
    with mlx_lm_errors(directory):
        network_class, arguments_class = _get_classes(config)
        check_rope_is_read(config, inspect.getsource(inspect.getmodule(network_class)))  # type: ignore[arg-type]
        network = network_class(arguments_class.from_dict(config))
    use_named_gelu(network, config)
    return network
