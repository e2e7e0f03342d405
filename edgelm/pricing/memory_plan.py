"""Whether a prompt fits, before it is computed: weights, KV cache and the workspace of a chunk against the budget.

Metal's running out of memory cannot be caught, so it must not happen. Smaller chunks need less workspace: they are
tried before a prompt is refused. Pure arithmetic on `pricing/fit.py`'s account; knows nothing about MLX.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from edgelm.device import memory_budget_bytes
from edgelm.errors import FitError
from edgelm.pricing.chunks import SMALLEST_CHUNK, halved
from edgelm.pricing.fit import Account
from edgelm.pricing.verdict import longest_within
from edgelm.units import count, format_bytes
from edgelm.zoo.caches.settings import CacheSettings


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """The account of one loaded model, with its kind of KV cache."""

    account: Account
    settings: CacheSettings = CacheSettings()  # noqa: RUF009 - frozen
    draft: Account | None = None
    """The account of a smaller model that guesses ahead: its weights and its cache of the same tokens lie beside."""
    adapters: Callable[[], int] = int
    """Says what the adapters on the model take now."""

    @property
    def budget_bytes(self) -> int:
        """What may be used in all."""
        return memory_budget_bytes(self.account.device)

    def kv_bytes(self, tokens: int) -> int:
        """Return the bytes of a KV cache of `tokens`, a draft's too."""
        return self._kept.kv_bytes(tokens) + (self.draft.kv_bytes(tokens) if self.draft else 0)

    @property
    def weights_bytes(self) -> int:
        """The weights, those of a draft and of adapters too."""
        draft = self.draft.weights.loaded_bytes if self.draft else 0
        return self.account.weights.loaded_bytes + draft + self.adapters()

    def need_bytes(self, tokens: int, chunk: int) -> int:
        """Return the bytes of weights, cache and workspace for a prompt of `tokens`, computed `chunk` at a time."""
        return self.weights_bytes + self.kv_bytes(tokens) + self._workspace_bytes(tokens, chunk)

    def _workspace_bytes(self, tokens: int, chunk: int) -> int:
        return self._kept.workspace_bytes(tokens, chunk) or 0

    @property
    def _kept(self) -> Account:
        return replace(self.account, kind=self.settings)

    def chunk_for(self, tokens: int, wanted: int) -> int:
        """Return the largest chunk up to `wanted` with which a prompt of `tokens` fits.

        Raises:
            FitError: it does not fit with any.
        """
        sizes = list(halved(wanted))
        for chunk in sizes:
            if self.need_bytes(tokens, chunk) <= self.budget_bytes:
                return chunk
        raise FitError(self._refusal(tokens, sizes[-1]), hint=self._way_out(tokens))

    def chunk_within(self, tokens: int, wanted: int, size_bytes: int) -> int:
        """Return the largest chunk up to `wanted`, 32 at least, whose workspace behind `tokens` is within `size_bytes`."""
        sizes = list(halved(wanted))
        return next((size for size in sizes if self._workspace_bytes(tokens, size) <= size_bytes), sizes[-1])

    def slack_bytes(self, tokens: int, chunk: int) -> int:
        """Return the bytes that are left beside a prompt: other prompts may be kept in them."""
        return max(0, self.budget_bytes - self.need_bytes(tokens, chunk))

    def longest_prompt(self) -> int:
        """Return the most tokens that fit."""
        return longest_within(
            lambda tokens: self.need_bytes(tokens, SMALLEST_CHUNK), self.budget_bytes, 1 << 24
        )

    def _refusal(self, tokens: int, chunk: int) -> str:
        return (
            f"a prompt of {count(tokens, 'token')} needs {format_bytes(self.need_bytes(tokens, chunk))} (weights"
            f" {format_bytes(self.weights_bytes)}, KV cache {format_bytes(self.kv_bytes(tokens))},"
            f" the rest workspace), but {format_bytes(self.budget_bytes)} is safe to use here"
        )

    def _way_out(self, tokens: int) -> str:
        longest = self.longest_prompt()
        way = f"{count(longest, 'token')} fit" if longest else "choose a smaller model"
        smaller = (
            "" if self.settings.max_context else "; --kv-bits 8 halves the KV cache, --max-context bounds it"
        )
        return way + smaller
