"""sentencepiece's precompiled normalization rules, checked before they reach Rust.

The blob is a size, a double-array trie (darts-clone) of 32-bit units and the replacement texts, each ended
by a zero byte. `tokenizers` follows the trie without bounds checks of its own: a broken one is a panic
when some text is encoded, which no caller can handle. So every step the trie could take is checked here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgelm.errors import FormatError


def check_charsmap(blob: bytes, origin: Path) -> None:
    """Check that no text can lead out of the trie or into the middle of a character.

    Raises:
        FormatError: it could.
    """
    size_bytes = int.from_bytes(blob[:4], "little")
    if len(blob) < 4 or size_bytes % 4 or not 0 < size_bytes <= len(blob) - 4:
        raise _broken("its trie does not fit", origin)
    units = np.frombuffer(blob, dtype="<u4", count=size_bytes // 4, offset=4)
    texts = blob[4 + size_bytes :]
    try:
        texts.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _broken("its replacements are not UTF-8", origin) from error
    _check_trie(units, texts, origin)


def _check_trie(units: NDArray[np.uint32], texts: bytes, origin: Path) -> None:
    """A unit, as in darts.h: label in bits 0-7, leaf flag in bit 8, offset above, bit 31 set on values."""
    if units[0] >> 31:
        raise _broken("its trie has no root", origin)
    inner = np.flatnonzero(units >> 31 == 0)
    codes = units[inner].astype(np.int64)
    # Children of a unit lie at base ^ byte, and its value, if it has one, at base itself.
    bases = inner ^ ((codes >> 10) << ((codes & (1 << 9)) >> 6))
    if np.any(bases | 0xFF >= len(units)):
        raise _broken("its trie leads out of itself", origin)
    values = units[bases[codes >> 8 & 1 == 1]].astype(np.int64) & 0x7FFFFFFF
    if np.any(values >= len(texts)):
        raise _broken("a replacement lies outside its texts", origin)
    starts = np.frombuffer(texts, dtype=np.uint8)[values]
    if np.any(starts & 0xC0 == 0x80):
        raise _broken("a replacement begins inside a character", origin)


def _broken(reason: str, origin: Path) -> FormatError:
    return FormatError(f"the normalization rules are broken, {reason}: {origin}")
