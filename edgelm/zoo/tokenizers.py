"""mlx-lm's tokenizers, read with no network and no code from the checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgelm import log
from edgelm.errors import FormatError, UnsafeError
from edgelm.zoo.guards import keep_file_limit, mlx_lm_errors


def wrapped_tokenizer(directory: Path, stop_ids: list[int], *, shown: Path | str) -> Any:
    """mlx_lm's TokenizerWrapper around the transformers tokenizer in `directory`.

    Args:
        stop_ids: tokens that end an answer.
        shown: what messages call `directory`.

    Raises:
        FormatError: its files are broken.
        UnsafeError: it is made of Python code in the checkpoint.
    """
    log.silence_known()
    with keep_file_limit():
        from mlx_lm.tokenizer_utils import load as load_wrapper
    with tokenizer_errors(directory, shown=shown):
        return load_wrapper(
            directory, {"trust_remote_code": False, "local_files_only": True}, eos_token_ids=stop_ids
        )


@contextmanager
def tokenizer_errors(directory: Path, *, shown: Path | str | None = None) -> Iterator[None]:
    """Translate what transformers raises while it reads the tokenizer in `directory`.

    Args:
        shown: what messages call `directory`, where it is a temporary copy of something else.

    Raises:
        FormatError: its files are broken.
        UnsafeError: it is made of Python code in the checkpoint.
    """
    try:
        with mlx_lm_errors(directory, shown=shown):
            yield
    except FormatError as error:
        if "trust_remote_code" not in error.message:
            raise
        raise UnsafeError(
            f"the tokenizer of {shown or directory} is Python code, and edgelm runs no code from checkpoints",
            hint="look for a release of the model with a tokenizer.json",
        ) from error
