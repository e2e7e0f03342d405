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

from edgelm.errors import EdgeLMError, FormatError, UnsupportedError
from edgelm.zoo.config import check_architecture, check_rope_is_read
from edgelm.zoo.fixes.activations import use_named_gelu
from edgelm.zoo.fixes.longrope import use_both_factors
from edgelm.zoo.fixes.rotation import use_named_rotation
from edgelm.zoo.fixes.window import use_named_windows
from edgelm.zoo.fixes.yarn import use_named_yarn
from edgelm.zoo.unread import check_settings_are_read
from edgelm.zoo.wrappers import check_text_type


@contextmanager
def mlx_lm_errors(directory: Path, *, shown: Path | str | None = None) -> Iterator[None]:
    """Translate what mlx-lm, MLX and transformers raise while loading `directory`.

    Args:
        shown: what messages call it, where it is a temporary copy of something else.
    """
    try:
        yield
    except EdgeLMError:
        raise
    except SystemExit as error:  # mlx_lm/models/olmo.py, where ai2-olmo is not installed
        raise UnsupportedError(
            f"mlx-lm's code for {shown or directory} needs a package that is not installed",
            hint="the line above names it",
        ) from error
    except _loading_errors() as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, KeyError):
            reason = f"missing key or tensor {reason}"
        named = str(shown or directory)
        raise FormatError(f"{named} cannot be loaded: {reason.replace(str(directory), named)}") from error


def _loading_errors() -> tuple[type[Exception], ...]:
    """Evaluated only where something was raised."""
    from huggingface_hub.errors import StrictDataclassError

    return (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,  # a config of zeros, or of sizes that MLX cannot count
        RuntimeError,
        OSError,
        AssertionError,
        ImportError,
        StrictDataclassError,  # a setting of the wrong type, as transformers 5 sees it
    )


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
    """The text of mlx-lm's module for an architecture."""
    return inspect.getsource(inspect.getmodule(network_class))  # type: ignore[arg-type]
