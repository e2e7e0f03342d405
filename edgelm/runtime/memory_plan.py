"""Whether a prompt fits, before it is computed: weights, KV cache and the workspace of a chunk against the budget.

Metal's running out of memory cannot be caught, so it must not happen. Smaller chunks need less workspace: they are
tried before a prompt is refused. Pure arithmetic on `model/fit.py`'s account; knows nothing about MLX.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgelm.device import memory_budget_bytes
from edgelm.errors import FitError
from edgelm.model.fit import Account
from edgelm.runtime.cache.settings import CacheSettings
from edgelm.units import count, format_bytes

_SMALLEST_CHUNK = 32
_GROUP = 32  # the smaller of the groups that a KV cache is quantized in


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """The account of one loaded model, with its kind of KV cache."""

    account: Account
    settings: CacheSettings = CacheSettings()  # noqa: RUF009 - frozen

    @property
    def budget_bytes(self) -> int:
        """What may be used in all."""
        return memory_budget_bytes(self.account.device)

    def kv_bytes(self, tokens: int) -> int:
        """The KV cache of so many tokens."""
        bound = self.settings.max_context
        whole = self.account.kv_bytes(tokens if bound is None else min(tokens, bound))
        return int(whole * self._share())

    def need_bytes(self, tokens: int, chunk: int) -> int:
        """Weights, cache and workspace for a prompt of so many tokens."""
        return (
            self.account.weights.loaded_bytes + self.kv_bytes(tokens) + self._workspace_bytes(tokens, chunk)
        )

    def _workspace_bytes(self, tokens: int, chunk: int) -> int:
        is_packed = self.settings.kv_bits is not None
        bound = self.settings.max_context
        seen = tokens if bound is None else min(tokens, bound + chunk)
        return self.account.workspace_bytes(seen, chunk, is_cache_packed=is_packed) or 0

    def chunk_for(self, tokens: int, wanted: int) -> int:
        """The largest chunk up to `wanted` with which a prompt of so many tokens fits.

        Raises:
            FitError: it does not fit with any.
        """
        chunk = wanted
        while self.need_bytes(tokens, chunk) > self.budget_bytes:
            if chunk <= _SMALLEST_CHUNK:
                raise FitError(self._refusal(tokens, chunk), hint=self._way_out(tokens))
            chunk = max(chunk // 2, _SMALLEST_CHUNK)
        return chunk

    def chunk_within(self, tokens: int, wanted: int, size_bytes: int) -> int:
        """The largest chunk up to `wanted` whose workspace behind so many tokens is within `size_bytes`, 32 at least."""
        chunk = wanted
        while chunk > _SMALLEST_CHUNK and self._workspace_bytes(tokens, chunk) > size_bytes:
            chunk = max(chunk // 2, _SMALLEST_CHUNK)
        return chunk

    def slack_bytes(self, tokens: int, chunk: int) -> int:
        """What is left beside a prompt: other prompts may be kept in it."""
        return max(0, self.budget_bytes - self.need_bytes(tokens, chunk))

    def longest_prompt(self) -> int:
        """The most tokens that fit."""
        low, high = 0, 1 << 24
        while low < high:
            middle = (low + high + 1) // 2
            fits = self.need_bytes(middle, _SMALLEST_CHUNK) <= self.budget_bytes
            low, high = (middle, high) if fits else (low, middle - 1)
        return low

    def _share(self) -> float:
        """Of this kind of cache in the size of the model's own."""
        width = self.account.weights.float_bytes
        if self.settings.kv_bits is not None:
            return (self.settings.kv_bits / 8 + 2 * width / _GROUP) / width
        return 2 / width if self.settings.kv_dtype is not None else 1.0

    def _refusal(self, tokens: int, chunk: int) -> str:
        return (
            f"a prompt of {count(tokens, 'token')} needs {format_bytes(self.need_bytes(tokens, chunk))} (weights"
            f" {format_bytes(self.account.weights.loaded_bytes)}, KV cache {format_bytes(self.kv_bytes(tokens))},"
            f" the rest workspace), but {format_bytes(self.budget_bytes)} is safe to use here"
        )

    def _way_out(self, tokens: int) -> str:
        longest = self.longest_prompt()
        way = f"{count(longest, 'token')} fit" if longest else "choose a smaller model"
        smaller = (
            "" if self.settings.max_context else "; --kv-bits 8 halves the KV cache, --max-context bounds it"
        )
        return way + smaller
