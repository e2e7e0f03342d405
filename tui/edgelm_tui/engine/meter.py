"""The honest meter of an answer: what is read, how fast it comes, what the cache saved, how full the context is.

    prefill 62% → 48 tok/s · first token 0.3 s · 5.1k/32k · 4.0k cached

Pure functions of what was counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgelm.runtime.events import Usage


@dataclass(slots=True)
class Count:
    """What was counted of one answer so far. Times are seconds of a monotonic clock."""

    started: float
    prompt: int = 0
    """Tokens of the prompt."""
    read: int = 0
    """Tokens of the prompt that are in the cache now."""
    cached: int = 0
    """Tokens of the prompt that were in the cache before."""
    pieces: int = 0
    """Pieces of text, which are about as many as tokens; replaced by the truth at the end."""
    first: float | None = None
    last: float | None = None
    usage: Usage | None = None

    def hear(self, event: object, now: float) -> None:
        """Count one event of the answer."""
        # Not before the first answer: the runtime's package prepares the processor for MLX, which takes a while.
        from edgelm.runtime.events import Finished, Prefill, Text

        match event:
            case Prefill(done, total, cached):
                self.read, self.prompt, self.cached = done, total, cached
            case Text():
                self.pieces += 1
                self.first = self.first if self.first is not None else now
                self.last = now
            case Finished(_, usage):
                self.usage = usage

    def rate(self) -> float | None:
        """Return the tokens per second, None where that cannot be told yet."""
        if self.usage is not None:
            return self.usage.decode_tokens_per_s or None
        if self.first is None or self.last is None or self.pieces < 3:
            return None
        elapsed_s = self.last - self.first
        return (self.pieces - 1) / elapsed_s if elapsed_s > 0 else None

    def first_token_s(self) -> float | None:
        """Return the seconds from the question to the first token."""
        if self.usage is not None:
            return self.usage.first_token_s
        return None if self.first is None else self.first - self.started

    def context(self) -> int:
        """Count the tokens of prompt and answer."""
        if self.usage is not None:
            return self.usage.prompt_tokens + self.usage.completion_tokens
        return self.prompt + self.pieces


def meter(count: Count | None, limit: int | None, *, ended: str = "") -> str:
    """Write the line; empty before anything was counted.

    Args:
        ended: how an answer ended that is not whole: "stopped" or "failed"; what has ended waits for nothing.
    """
    if count is None:
        return ""
    parts = [ended] if ended else []
    rate, first_s = count.rate(), count.first_token_s()
    if count.first is None and count.usage is None and not ended:
        parts.append(f"prefill {count.read / count.prompt:.0%}" if count.prompt else "waiting")
    elif rate is not None:
        parts.append(f"{rate:.3g} tok/s")
    if first_s is not None:
        parts.append(f"first token {first_s:.2g} s")
    if context := count.context():
        parts.append(f"{short(context)}/{short(limit)}" if limit else f"{short(context)} tokens")
    if cached := (count.usage.cached_tokens if count.usage else count.cached):
        parts.append(f"{short(cached)} cached")
    return " · ".join(parts)


def short(tokens: int) -> str:
    """Shorten a number of tokens: `5123` → `"5.1k"`."""
    return (
        str(tokens)
        if tokens < 1000
        else f"{tokens / 1000:.1f}k"
        if tokens < 9950
        else f"{tokens / 1000:.0f}k"
    )
