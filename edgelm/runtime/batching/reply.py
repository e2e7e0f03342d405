"""One reply of a batch: takes the tokens that the batch deals it, and says when it has ended.

To `generate_text` it is an engine, so stop strings, thinking, tool calls and log-probabilities are what they
are for one prompt alone; it only waits where the engine would compute. Knows nothing about caches.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, cast

import mlx.core as mx

from edgelm.runtime.batching.prompts import Task
from edgelm.runtime.constraints.constraint import Constraint
from edgelm.runtime.engine import Engine
from edgelm.runtime.events import EngineEvent, Finished, FinishReason, Prefill, Token, Usage
from edgelm.runtime.generation.completion import Collector, Completion
from edgelm.runtime.generation.text import generate_text
from edgelm.runtime.requests import Cancel, Request, check_request, token_budget
from edgelm.runtime.sampling.settings import Sampling

_WAITING = Prefill(0, 0, 0)  # a mark, compared by identity: the reply needs its next token


@dataclass(frozen=True, slots=True)
class Voice:
    """What the replies of one model have in common."""

    tokenizer: Any
    vocab_size: int
    context_length: int | None
    stop_tokens: frozenset[int]


class Reply:
    """A prompt and what has come of it so far.

    Raises:
        PromptError, OptionError: what this model cannot do, from the constructor.
    """

    def __init__(self, task: Task, voice: Voice, cancel: Cancel) -> None:
        self.task = task
        self._voice = voice
        self._cancel = cancel
        self._prompt = task.encode(voice.tokenizer)
        self.restart()

    def restart(self) -> None:
        """Forget what was said, and begin again."""
        self.ids = list(self._prompt)
        """The prompt and the tokens dealt."""
        self.cached_tokens = 0
        self._seed: int | None = None
        self._constraint: Constraint | None = None
        self._started = 0.0
        self._times: list[float] = []
        self._dealt = Token(-1)
        self._collector = Collector(self.task.options.grammar)
        self._events = generate_text(
            cast(Engine, self),
            self._voice.tokenizer,
            self._prompt,
            self.task.options,
            self._cancel,
            stop_tokens=self._voice.stop_tokens,
            tools=self.task.tools,
        )
        self._listen()

    @property
    def prompt_tokens(self) -> int:
        """Length of the prompt."""
        return len(self._prompt)

    @property
    def most_tokens(self) -> int | None:
        """The longest that prompt and reply can become; None is without limit."""
        return None if self._budget is None else len(self._prompt) + self._budget

    @property
    def is_plain(self) -> bool:
        """Whether its next token is the likeliest, and nothing more is asked of it."""
        asks_more = self._request.logprobs is not None or self.is_constrained
        return not asks_more and _is_plain(self._request.sampling)

    @property
    def is_constrained(self) -> bool:
        """Whether a token must be known before the next can be chosen."""
        return self._request.constraint is not None

    def begin(self, cached_tokens: int) -> None:
        """Its prompt is computed from now on, all but `cached_tokens` of it."""
        self._started = self._started or time.perf_counter()
        self.cached_tokens = cached_tokens

    def deal(self, token: Token) -> Completion | None:
        """Take the next token; the completion if that ends the reply.

        Raises:
            Exception: whatever decoding or parsing this reply raises.
        """
        self.ids.append(token.id)
        self._times.append(time.perf_counter())
        self._dealt = token
        self._listen()
        return self._collector.completion() if self._collector.finished else None

    @property
    def request(self) -> Request:
        """What `generate_text` asked of the engine."""
        return self._request

    @property
    def seed(self) -> int:
        """Of its noise; drawn once where none was asked for, and again when it begins again."""
        if self._seed is None:
            asked = self._request.sampling.seed
            self._seed = secrets.randbits(63) if asked is None else asked
        return self._seed

    def allowed(self, columns: int) -> mx.array | None:
        """`[1, V]` bool: what its constraint lets through now; None where it has none."""
        if self._constraint is None and self._request.constraint is not None:
            self._constraint = self._request.constraint(columns)
        return None if self._constraint is None else self._constraint.allowed()

    def close(self) -> None:
        """Let go of what `generate_text` holds."""
        self._events.close()

    def generate(self, request: Request, cancel: Cancel) -> Generator[EngineEvent, None, None]:
        """What `generate_text` asks of an engine."""
        check_request(request, vocab_size=self._voice.vocab_size, context_length=self._voice.context_length)
        self._request = request
        self._budget = token_budget(request, self._voice.context_length)
        tokens: list[int] = []
        while True:
            yield _WAITING
            token = self._dealt
            if token.id in request.stop_tokens:
                yield self._finished("stop", tokens, token.id)
                return
            tokens.append(token.id)
            if self._constraint is not None:
                self._constraint.accept(token.id)
            yield token
            reason = self._reason(len(tokens), cancel)
            if reason is not None:
                yield self._finished(reason, tokens)
                return

    def _reason(self, tokens: int, cancel: Cancel) -> FinishReason | None:
        """Why it ends after so many tokens, if it does."""
        if self._constraint is not None and self._constraint.is_over:
            return "stop"
        if tokens == self._budget:
            return "length"
        return "cancelled" if cancel.is_set() else None

    def _listen(self) -> None:
        """Collect what is certain, until a token is needed."""
        for event in self._events:
            if event is _WAITING:
                return
            self._collector.add(event)

    def _finished(self, reason: FinishReason, tokens: list[int], matched: int | None = None) -> Finished:
        first = self._times[0]
        usage = Usage(
            prompt_tokens=len(self._prompt),
            cached_tokens=self.cached_tokens,
            completion_tokens=len(self._times),
            prefill_s=first - self._started,
            first_token_s=first - self._started,
            decode_s=self._times[-1] - first,
            peak_memory_bytes=mx.get_peak_memory(),
        )
        return Finished(reason, usage, matched, tuple(tokens))


def _is_plain(sampling: Sampling) -> bool:
    """Whether the likeliest token is taken as the network gives it."""
    penalties = (sampling.presence_penalty, sampling.frequency_penalty)
    is_changed = sampling.logit_bias or sampling.repetition_penalty != 1 or any(penalties)
    return sampling.is_greedy and not is_changed
