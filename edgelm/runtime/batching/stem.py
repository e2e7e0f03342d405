"""What prompts begin with in common (a system prompt, few-shot examples), so that it is computed once.

Pure functions of token ids.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgelm.runtime.cache.pool import common_prefix

_WORTH_TOKENS = 32
"""Saved over all prompts: less costs more to copy than to compute."""


def shared_stem(prompts: Sequence[Sequence[int]]) -> list[int]:
    """The beginning that saves most tokens if it is computed once; empty if none is worth it.

    It leaves at least one token of each prompt that begins with it. Found among the beginnings of the median
    prompt, which belongs to the largest family if that is more than half of them.
    """
    if len(prompts) < 2:
        return []
    median = sorted(map(list, prompts))[len(prompts) // 2]
    shared = sorted((served_by(median, prompt) for prompt in prompts), reverse=True)
    saved, length = max((length * count, length) for count, length in enumerate(shared))
    return median[:length] if saved >= _WORTH_TOKENS else []


def served_by(stem: Sequence[int], prompt: Sequence[int]) -> int:
    """How many tokens of `prompt` the stem holds, at most all but the last."""
    return min(common_prefix(stem, prompt), len(prompt) - 1)
