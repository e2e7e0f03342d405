"""How the KV cache is kept: settings, validated when built. `maker.py` makes caches of them, with MLX."""

from __future__ import annotations

from dataclasses import dataclass

from edgelm.errors import OptionError
from edgelm.options import Options, option

_GROUP = 32
"""The smaller of the groups that a KV cache is quantized in, each with a scale and a bias."""


@dataclass(frozen=True)
class CacheSettings(Options):
    """The kind of KV cache. The default is the architecture's own, in the model's precision.

    Raises:
        OptionError: a setting outside what it may be, or two that exclude each other.
    """

    kv_bits: int | None = option(
        None, "quantize the KV cache of full attention to so many bits", choices=(4, 8)
    )
    kv_dtype: str | None = option(
        None, "keep the KV cache of full attention in this type", choices=("float16", "bfloat16")
    )
    max_context: int | None = option(
        None, "keep the first 4 and the last tokens, so many in all, and forget those between", ge=16
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [name for name, value in self.said().items() if value is not None]
        if len(given) > 1:
            raise OptionError(
                f"{' and '.join(given)} exclude each other",
                hint="a cache is quantized, cast, or bounded: MLX cannot do two of these at once",
                settings=given,
            )

    def said(self) -> dict[str, int | str | None]:
        """Return the settings by name: what tells the caches of one kind from those of another."""
        return {"kv_bits": self.kv_bits, "kv_dtype": self.kv_dtype, "max_context": self.max_context}

    def kept(self, tokens: int) -> int:
        """Return how many of `tokens` are kept."""
        return tokens if self.max_context is None else min(tokens, self.max_context)

    def seen(self, tokens: int, chunk: int) -> int:
        """Return the tokens that the last chunk of a prompt attends to."""
        return tokens if self.max_context is None else min(tokens, self.max_context + chunk)

    def share(self, float_bytes: int) -> float:
        """Return the share that is taken of the bytes of rows whose numbers have `float_bytes`."""
        if self.kv_bits is not None:
            return (self.kv_bits / 8 + 2 * float_bytes / _GROUP) / float_bytes
        return 2 / float_bytes if self.kv_dtype is not None else 1.0
