"""What the engine is asked for: token ids and settings, validated when built.

Knows nothing about text, nor about any one model; what depends on the model is checked by `check_request`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from edgelm.adapters.use import AdapterUse
from edgelm.errors import PromptError
from edgelm.options import Options, option
from edgelm.runtime.constraints.constraint import MakeConstraint
from edgelm.runtime.sampling.settings import Sampling
from edgelm.units import count


class Cancel(Protocol):
    """A `threading.Event`, or anything that can be asked whether it is set."""

    def is_set(self) -> bool:
        """Return whether the request is to end now."""


@dataclass(frozen=True)
class Request(Options):
    """One prompt and how to continue it.

    Raises:
        OptionError: a setting outside what it may be.
    """

    prompt: Sequence[int]
    """Token ids, or a `Prompt`, which has media too."""
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int | None = option(
        None, "stop after so many tokens; None is until the context is full", ge=1
    )
    stop_tokens: frozenset[int] = frozenset()
    """Ids that end the generation; they are reported in `Finished.matched`, not as a `Token`."""
    logprobs: int | None = option(
        None, "report log-probabilities, and so many alternatives for each token", ge=0, le=20
    )
    speculation: bool = option(
        True, "guess ahead where that is faster; the tokens are the same, on Metal up to rounding"
    )
    n: int = option(
        1, "answers, each with a seed of its own, from one computation of the prompt", ge=1, le=1024
    )
    scored: bool = option(
        False,
        "report the log-probability of every token in arrays, under the distribution it was drawn from and the model's",
    )
    """The answer comes whole, in `Finished.scores`: no `Token` is reported, and nothing is guessed."""
    adapters: tuple[AdapterUse, ...] | None = None
    """The adapters that act, and no others; None is as the model is set."""
    constraint: MakeConstraint | None = None
    """Makes what limits the tokens, given the columns of the logits; called on the engine thread."""


def check_request(request: Request, *, vocab_size: int, context_length: int | None) -> None:
    """Refuse what this model cannot do.

    Raises:
        PromptError: an empty prompt, one with ids out of range, or one that leaves no room for an answer.
        OptionError: a logit bias outside the vocabulary.
    """
    prompt = request.prompt
    if not prompt:
        raise PromptError("the prompt is empty, expected at least one token")
    low, high = min(prompt), max(prompt)
    if low < 0 or high >= vocab_size:
        wrong = low if low < 0 else high
        raise PromptError(f"the prompt holds token {wrong}, expected 0 to {vocab_size - 1}")
    if context_length is not None and len(prompt) >= context_length:
        raise PromptError(
            f"the prompt is {count(len(prompt), 'token')}, expected less than the model's context of {context_length}",
            hint="shorten the prompt, or clear the chat",
        )
    request.sampling.check_vocab(vocab_size)


def token_budget(request: Request, context_length: int | None) -> int | None:
    """Return how many tokens may be generated; None is without limit."""
    limits = [] if request.max_tokens is None else [request.max_tokens]
    if context_length is not None:
        limits.append(context_length - len(request.prompt))
    return min(limits, default=None)
