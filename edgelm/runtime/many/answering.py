"""What answers many prompts at once: a loaded model, or what stands in for one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from edgelm.runtime.many.results import BatchResult


class Answering(Protocol):
    """A loaded model, as `edgelm.Model` is one."""

    def generate_many(
        self, prompts: Iterable[Mapping[str, Any]], *, rows: int | None = None
    ) -> Iterator[BatchResult]:
        """Answer many prompts at once, each with settings of its own."""
        ...

    def close(self) -> None:
        """Give the memory back."""
        ...
