"""What tells one model's weights from another's, without reading all of them.

A hash of the config, of every weight file's size and header, and of samples of its data: 64 blocks spread over the
file. Two models that differ in training or quantization differ in nearly every block. Not a defence against forgery.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from edgelm.zoo.weights.files import weight_files

_BLOCKS = 64
_BLOCK_BYTES = 4096
_HEADER_BYTES = 1 << 20


def fingerprint(directory: Path) -> str:
    """32 hexadecimal digits for a model's directory.

    Raises:
        NotFoundError, FormatError, UnsafeError: see `edgelm.zoo.weights.files.weight_files`.
        OSError: a file cannot be read.
    """
    return _fingerprint(directory / "config.json", weight_files(directory))


def adapter_fingerprint(directory: Path) -> str:
    """Return the fingerprint of an mlx-lm adapter.

    Raises:
        OSError: a file cannot be read.
    """
    return _fingerprint(directory / "adapter_config.json", [directory / "adapters.safetensors"])


def _fingerprint(config: Path, weights: Sequence[Path]) -> str:
    found = hashlib.sha256()
    found.update(config.read_bytes())
    for path in weights:
        size = path.stat().st_size
        found.update(f"{path.name} {size} ".encode())
        with path.open("rb") as file:
            found.update(file.read(min(size, _HEADER_BYTES)))
            for block in range(_BLOCKS):
                file.seek(block * size // _BLOCKS)
                found.update(file.read(_BLOCK_BYTES))
    return found.hexdigest()[:32]
