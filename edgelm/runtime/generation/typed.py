"""The settings of an answer by name, for type checkers and editors: what `**settings` of `generate` and `chat` may hold.

`GenerationOptions` and `Sampling` hold them, check them and have their defaults; a test keeps the two alike. Light.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from edgelm.runtime.constraints.grammar import Grammar
    from edgelm.runtime.sampling.settings import Sampling


class SamplingSettings(TypedDict, total=False):
    """How the next token is chosen; see `Sampling` for bounds and defaults."""

    greedy: bool
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repetition_penalty: float
    repetition_window: int
    presence_penalty: float
    frequency_penalty: float
    seed: int | None
    logit_bias: Mapping[int, float]


class ReplySettings(SamplingSettings, total=False):
    """How a reply is made, apart from thinking; see `GenerationOptions`."""

    sampling: Sampling
    max_tokens: int | None
    logprobs: int | None
    speculation: bool
    stop: str | Sequence[str]
    best_of: int
    judge_by: str | Sequence[str]
    adapter: str | Path | Sequence[str | Path] | None
    schema: Mapping[str, Any] | str | bool | type[Any] | None
    regex: str | None
    grammar: Grammar | str | None


class GenerationSettings(ReplySettings, total=False):
    """How a reply is made; see `GenerationOptions`."""

    enable_thinking: bool | None
    thinking_budget: int | None
