"""What comes out of a batch: plain values, safe across threads."""

from __future__ import annotations

from dataclasses import dataclass

from edgelm.errors import EdgeLMError, EngineError
from edgelm.progress import Progress
from edgelm.runtime.generation.completion import Completion


@dataclass(frozen=True, slots=True)
class BatchResult:
    """How one prompt ended: with a completion, or with the error that only it met."""

    index: int
    """Which of the prompts."""
    completion: Completion | None = None
    error: EdgeLMError | None = None

    @property
    def text(self) -> str:
        """The completion's text.

        Raises:
            EdgeLMError: the error, where there is no completion.
        """
        return self._required().text

    @property
    def tokens(self) -> tuple[int, ...]:
        """The ids sampled, a final stop token excluded.

        Raises:
            EdgeLMError: the error, where there is no completion.
        """
        return self._required().tokens

    def _required(self) -> Completion:
        if self.completion is None:
            raise self.error or EngineError("the prompt has neither a completion nor an error")
        return self.completion


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """How far a batch is."""

    done: int
    total: int
    running: int
    """Prompts being answered now."""
    completion_tokens: int
    """Sampled so far, over all prompts."""
    elapsed_s: float

    @property
    def tokens_per_s(self) -> float:
        """Sampled tokens per second of the whole run, prefill included."""
        return self.completion_tokens / self.elapsed_s if self.elapsed_s > 0 else 0.0

    def as_progress(self, *, already_done: int = 0) -> Progress:
        """Return what a progress bar shows; `already_done` prompts ended before the batch began."""
        detail = f"{self.tokens_per_s:,.0f} token/s, {self.running} at once"
        done, total = self.done + already_done, self.total + already_done
        return Progress("Answering", done, total, "prompts", detail)


BatchEvent = BatchResult | BatchProgress
