"""One request under way: its tokens so far, what limits them, and what its reader is still to be told.

It takes tokens as they are drawn, says when it has ended, and accounts for what it cost. Knows nothing about networks,
caches and who else is served.

Shapes: V vocab.
"""

from __future__ import annotations

import secrets
import time
from array import array
from collections import deque
from collections.abc import Sequence

import mlx.core as mx

from edgelm.adapters.acting.variant import Variant
from edgelm.runtime.constraints.constraint import Constraint
from edgelm.runtime.events import EngineEvent, Finished, FinishReason, Prefill, Token, TokenScores, Usage
from edgelm.runtime.prompt import Prompt
from edgelm.runtime.requests import Cancel, Request, token_budget

_BASE = Variant()


class ActiveRequest:
    """One request from the queue to its end.

    Args:
        request: what was asked.
        cancel: set when its reader wants no more.
        context_length: most tokens of prompt and answer together; None is without limit.
        most_rows: most requests that may share steps with it, itself included; None is what the machine can take.
        number: which of the `n` answers it is; each has the seed after the one before.
        variant: which adapters act on it; caches of one variant are never used for another.
    """

    def __init__(
        self,
        request: Request,
        cancel: Cancel,
        *,
        context_length: int | None = None,
        most_rows: int | None = None,
        number: int = 0,
        variant: Variant = _BASE,
    ) -> None:
        self.request = request
        self.is_constrained = request.constraint is not None
        """Whether a token must be known before the next can be chosen."""
        self.variant = variant
        self.cancel = cancel
        self.most_rows = most_rows
        self.ids = list(request.prompt)
        """The prompt and every token drawn, a final stop token included."""
        self.prompt_tokens = len(self.ids)
        prompt = request.prompt
        self.keys = prompt.keys() if isinstance(prompt, Prompt) and prompt.media else self.ids
        """What caches know `ids` by: media in the prompt by their content."""
        self.tokens: list[int] = []
        """The tokens drawn, a final stop token excluded."""
        self.events: deque[EngineEvent] = deque()
        """What its reader is still to be told."""
        self.error: Exception | None = None
        self.is_over = False
        self.leaves = False
        """Whether it is to stop at the next token where no guess is under way, to go on beside others."""
        self.cached_tokens = 0
        self.drafted = self.accepted = 0
        """Guesses of speculation that were checked, and those that stood."""
        self.limit(context_length)
        asked = request.sampling.seed
        self.seed = secrets.randbits(63) if asked is None else (asked + number) % 2**64
        self._constraint: Constraint | None = None
        self._scores = array("f")  # pairs: as drawn, and the model's own
        self._mask: mx.array | None = None
        self._reason: FinishReason = "cancelled"
        self._matched: int | None = None
        self._began_at = self._first_at = self._last_at = 0.0

    def limit(self, context_length: int | None) -> None:
        """Bound prompt and answer together."""
        self.budget = token_budget(self.request, context_length)

    @property
    def left(self) -> int | None:
        """How many tokens may still come; None is without limit."""
        return None if self.budget is None else self.budget - len(self.tokens)

    @property
    def most_tokens(self) -> int | None:
        """The longest that prompt and answer can become; None is without limit."""
        return None if self.budget is None else self.prompt_tokens + self.budget

    def length_in(self, tokens: int) -> int:
        """Return how long prompt and answer will be `tokens` later, their end at most."""
        length = len(self.ids) + tokens
        return length if self.most_tokens is None else min(length, self.most_tokens)

    @property
    def is_plain(self) -> bool:
        """Whether its next token is the likeliest, and nothing more is asked of it."""
        asks_more = self.request.logprobs is not None or self.request.scored or self.is_constrained
        return not asks_more and self.request.sampling.is_plain

    def constraint(self, columns: int) -> Constraint | None:
        """Return what limits its tokens, made for logits with `columns` columns; None where nothing does."""
        if self._constraint is None and self.request.constraint is not None:
            self._constraint = self.request.constraint(columns)
        return self._constraint

    def allowed(self, columns: int) -> mx.array | None:
        """Return `[1, V]` bool: what its constraint lets through now; None where it has none."""
        if self._mask is None and (constraint := self.constraint(columns)) is not None:
            self._mask = constraint.allowed()[:1]
        return self._mask

    def begin(self, cached_tokens: int) -> None:
        """Note that its prompt is computed from now on, all but `cached_tokens` of it."""
        if self._began_at:  # it was served before, and comes again with what it has said
            return
        self._began_at = time.perf_counter()
        self.cached_tokens = cached_tokens
        self.prefilled(cached_tokens)

    def shares(self, tokens: int) -> None:
        """Note that so many tokens of its prompt were computed for several."""
        if not self._first_at:
            self.cached_tokens = max(self.cached_tokens, tokens)

    def prefilled(self, tokens: int) -> None:
        """Tell its reader how much of the prompt is in the cache."""
        if not self._first_at:
            self.events.append(Prefill(tokens, self.prompt_tokens, self.cached_tokens))

    def deal(self, token: Token, scores: Sequence[float] | None = None) -> bool:
        """Take the next token and hand it out; whether it is a stop token, which ends the answer.

        Args:
            scores: its log-probabilities, as drawn and the model's own, where the request asked for arrays of them.

        Raises:
            EngineError: the constraint refuses the token.
        """
        self._last_at = time.perf_counter()
        if not self._first_at:
            self.prefilled(self.prompt_tokens)
            self._first_at = self._last_at
        self._mask = None
        self.ids.append(token.id)
        if self.keys is not self.ids:
            self.keys.append(token.id)
        if scores is not None:
            self._scores.extend(scores)
        if token.id in self.request.stop_tokens:
            self._reason, self._matched = "stop", token.id
            return True
        self.tokens.append(token.id)
        if self._constraint is not None:
            self._constraint.accept(token.id)
        if not self.request.scored:
            self.events.append(token)
        return False

    def ends(self) -> bool:
        """Return whether nothing follows the tokens so far: they are complete, as many as may come, or no longer wanted."""
        if self._constraint is not None and self._constraint.is_over:
            self._reason = "stop"
        elif self.budget is not None and len(self.tokens) >= self.budget:
            self._reason = "length"
        else:
            return self.cancel.is_set()
        return True

    def finish(self) -> None:
        """Tell its reader how it ended; it was cancelled where nothing else ended it."""
        first = self._first_at or time.perf_counter()
        usage = Usage(
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            completion_tokens=len(self.tokens) + (self._matched is not None),
            prefill_s=first - (self._began_at or first),
            first_token_s=first - self._began_at if self._first_at else 0.0,
            decode_s=self._last_at - self._first_at,
            peak_memory_bytes=mx.get_peak_memory(),
            drafted_tokens=self.drafted,
            accepted_tokens=self.accepted,
        )
        scores = self._token_scores() if self.request.scored else None
        self.events.append(Finished(self._reason, usage, self._matched, tuple(self.tokens), scores))
        self.is_over = True

    def _token_scores(self) -> TokenScores:
        from numpy import asarray, float32, frombuffer, int32

        pairs = frombuffer(self._scores, dtype=float32).reshape(-1, 2)
        tokens = asarray(self.ids[self.prompt_tokens :], dtype=int32)
        return TokenScores(tokens, pairs[:, 0].copy(), pairs[:, 1].copy())

    def fail(self, error: Exception) -> None:
        """End it with an error, which its reader meets."""
        self.error = error
        self.is_over = True
