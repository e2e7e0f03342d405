"""Tokens with their probabilities, as OpenAI's and Ollama's chats have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgelm.runtime.events import Alternative, Token

LEAST_LOGPROB = -9999.0
"""What stands for no probability at all, which JSON has no number for."""


def token_logprobs(tokens: Sequence[Token]) -> list[dict[str, Any]]:
    """Return the natural-log probability of each token and of those that could have come instead."""
    return [
        {**_logprob(token), "top_logprobs": [_logprob(other) for other in token.alternatives]}
        for token in tokens
    ]


def finite(logprob: float | None) -> float:
    """Return a log-probability that JSON has a number for."""
    return LEAST_LOGPROB if logprob is None else max(logprob, LEAST_LOGPROB)


def _logprob(token: Token | Alternative) -> dict[str, Any]:
    return {"token": token.text, "logprob": finite(token.logprob), "bytes": list(token.text.encode())}
