"""How many guesses one step may check, by the device: as many as are computed as one token is.

On MLX's CPU backend a position comes out the same however many stand beside it. Metal takes other kernels for wide steps:
its vector attention serves up to 8 queries and 32 rows of queries over all heads that share a key (mlx 0.32,
`ScaledDotProductAttention::use_fallback`), and a quantized matrix up to 6 to 33 rows by chip. Within these widths attention
stays in one kernel; matrices may not, so on Metal even few guesses may round otherwise than none.
"""

from __future__ import annotations

from edgelm.device import Device
from edgelm.runtime.speculation.governor import MOST

_QUERIES = 8
_ROWS = 32


def most_guesses(machine: Device, heads: int | None, key_heads: int | None) -> int:
    """Return how many guesses a step may check beside the token that they follow; 0 where not even one.

    Args:
        heads: of queries, in one layer; None where it is not known.
        key_heads: of keys and values.
    """
    if machine.backend != "metal":
        return MOST
    shared = -(-(heads or 1) // (key_heads or heads or 1))
    return max(0, min(MOST, _QUERIES - 1, _ROWS // shared - 1))
