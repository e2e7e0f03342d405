"""How a KV cache is kept, as memory is counted: numbers and no arrays."""

from __future__ import annotations

from dataclasses import dataclass

_GROUP = 32
"""The smaller of the groups that a KV cache is quantized in, each with a scale and a bias."""


@dataclass(frozen=True, slots=True)
class CacheKind:
    """How full attention's rows are kept; the default is the model's own precision, all of them."""

    bits: int | None = None
    """Quantized to so many; None is as computed."""
    is_half: bool = False
    """In 16 bits, whatever the model computes in."""
    most_tokens: int | None = None
    """Tokens kept at most."""

    def kept(self, tokens: int) -> int:
        """Return how many of `tokens` are kept."""
        return tokens if self.most_tokens is None else min(tokens, self.most_tokens)

    def seen(self, tokens: int, chunk: int) -> int:
        """Return the tokens that the last chunk of a prompt attends to."""
        return tokens if self.most_tokens is None else min(tokens, self.most_tokens + chunk)

    def share(self, float_bytes: int) -> float:
        """Return the share that is taken of the bytes of rows whose numbers have `float_bytes`."""
        if self.bits is not None:
            return (self.bits / 8 + 2 * float_bytes / _GROUP) / float_bytes
        return 2 / float_bytes if self.is_half else 1.0
