"""What has to surround every call into mlx_lm: its errors translated, its import kept from lowering the limit of open files."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgelm.errors import EdgeLMError, FormatError, UnsupportedError


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
