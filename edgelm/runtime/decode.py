"""Decoding: one token after another, or several at once where guesses are checked.

Plainly, the device is one token ahead: the step after a token is built and started before that token is read and
handed out, so that the device never waits for Python, nor for whoever listens. Where a guess at the next tokens is likely
to pay, the loop waits instead, feeds the last token and the guesses together, and takes as many as the sampler would have
drawn anyway. A constraint needs each token before it can say what may follow: then the network runs ahead, and only the
choice waits. Knows nothing about prompts and stop strings.

A token that is computed ahead is fed only when the one after it is: when a reply ends, what was chosen ahead was never
in the caches, and every token that they hold has been read and reported (`LiveCache.fed`).

Shapes: K guesses, V vocab.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass, field

import mlx.core as mx

from edgelm.runtime.cache.live import LiveCache
from edgelm.runtime.constraints.constraint import Constraint
from edgelm.runtime.events import FinishReason, Token
from edgelm.runtime.requests import Cancel, Request
from edgelm.runtime.runner import ModelRunner
from edgelm.runtime.sampling.sampler import Sampler
from edgelm.runtime.sampling.step import Step
from edgelm.runtime.speculation.draft import Draft
from edgelm.runtime.speculation.governor import MOST
from edgelm.runtime.speculation.speculator import Speculator

_CLEAR_EVERY = 256  # tokens; MLX's buffer cache grows with the KV cache's reallocations


@dataclass
class Outcome:
    """How a decoding ended, and when its tokens came, in seconds of `time.perf_counter`."""

    reason: FinishReason = "cancelled"
    matched: int | None = None
    tokens: list[int] = field(default_factory=list)
    first_token_at: float = 0.0
    last_token_at: float = 0.0


class Decoder:
    """Continues one prompt, whose tokens but the last are in the cache.

    Args:
        budget: most tokens to make; None is without limit.
        speculator: where guesses come from; None for none.
    """

    def __init__(
        self,
        runner: ModelRunner,
        live: LiveCache,
        request: Request,
        cancel: Cancel,
        *,
        budget: int | None,
        speculator: Speculator | None = None,
    ) -> None:
        self._runner = runner
        self._live = live
        self._request = request
        self._cancel = cancel
        self._budget = budget
        self._speculator = speculator
        self._constraint: Constraint | None = None
        self._read_at = 0.0
        self.outcome = Outcome()

    def tokens(self) -> Generator[Token, None, None]:
        """The tokens, a final stop token excluded. What ended them is in `outcome` afterwards."""
        step = self._first()
        while True:
            ahead = None if self._waits() else self._logits_after(step.ids)
            following = self._choose(ahead) if ahead is not None and self._constraint is None else None
            (token,) = self._read(step)
            if ahead is not None:
                self._live.fed([token.id])
            if (yield from self._take(token)):
                return
            if self._speculator is not None:
                self._speculator.observe(token.id)
            if following is None:
                following = (
                    self._choose(ahead) if ahead is not None else (yield from self._speculate(token.id))
                )
            if following is None:
                return
            step = following

    def _first(self) -> Step:
        """Feed the last prompt token."""
        request = self._request
        logits = self._logits_after(mx.array([request.prompt[-1]]))
        self._live.fed(request.prompt[-1:])
        columns = logits.shape[-1]
        self._sampler = Sampler(request.sampling, request.prompt, columns)
        if request.constraint is not None:
            self._constraint = request.constraint(columns)
        return self._choose(logits)

    def _waits(self) -> bool:
        """Whether the token under way must be known before anything is fed."""
        left = self._left()
        if left is not None and left <= 1:
            return True
        if self._speculator is None:
            return False
        most = self._most_guesses()
        # What is forced now begins with the token under way.
        return self._speculator.expects(most) or self._forced_draft(1 + most, after=1) is not None

    def _logits_after(self, ids: mx.array) -> mx.array:
        """Feed a token `[1]`; the logits `[1, V]` after it, under way."""
        logits = self._runner.step(ids, self._live.layers)
        if self._constraint is not None:
            mx.async_eval(logits)  # type: ignore[no-untyped-call]
        return logits

    def _choose(self, logits: mx.array) -> Step:
        """The token after `logits` `[1, V]`, under way."""
        allowed = self._constraint.allowed()[:1] if self._constraint is not None else None
        step = Step.build(logits, self._sampler.sample(logits, allowed), self._request.logprobs)
        step.start()
        return step

    def _plain(self, token: int) -> Step:
        """Feed a token that is known."""
        logits = self._logits_after(mx.array([token]))
        self._live.fed([token])
        return self._choose(logits)

    def _read(self, step: Step) -> list[Token]:
        """Wait for tokens."""
        found = step.read()
        now = time.perf_counter()
        if self._read_at and self._speculator is not None:
            self._speculator.time_plain(now - self._read_at)
        self._read_at = now
        self.outcome.first_token_at = self.outcome.first_token_at or now
        self.outcome.last_token_at = now
        return found

    def _take(self, token: Token) -> Generator[Token, None, bool]:
        """Hand out a token; whether it is the last."""
        outcome = self.outcome
        if token.id in self._request.stop_tokens:
            outcome.reason, outcome.matched = "stop", token.id
            return True
        outcome.tokens.append(token.id)
        if self._constraint is not None:
            self._constraint.accept(token.id)
        yield token
        if len(outcome.tokens) % _CLEAR_EVERY == 0:
            mx.clear_cache()
        if self._constraint is not None and self._constraint.is_over:
            outcome.reason = "stop"
            return True
        if self._left() == 0:
            outcome.reason = "length"
            return True
        return self._cancel.is_set()

    def _speculate(self, last: int) -> Generator[Token, None, Step | None]:
        """Go on from `last`, which is known and not fed, as long as guesses pay; then plainly."""
        while (draft := self._draft()) is not None:
            taken = self._check(last, draft)
            for token in taken:
                if (yield from self._take(token)):
                    return None
            last = taken[-1].id
        return self._plain(last)

    def _draft(self) -> Draft | None:
        if self._speculator is None:
            return None
        most = self._most_guesses()
        return self._forced_draft(most) or self._speculator.propose(most, self._sampler)

    def _forced_draft(self, limit: int, *, after: int = 0) -> Draft | None:
        """Tokens that the constraint leaves no choice about, those after the first `after` of them."""
        if self._constraint is None or self._speculator is None:
            return None
        return self._speculator.propose_forced(self._constraint.forced(min(limit, after + MOST))[after:])

    def _check(self, last: int, draft: Draft) -> list[Token]:
        """Feed `last` and the guesses; the tokens that hold: one more than there are right guesses."""
        drafts = list(draft.tokens)
        allowed = None
        if self._constraint is not None:
            allowed = self._constraint.allowed(drafts)  # [1 + admissible, V]
            drafts = drafts[: allowed.shape[0] - 1]
        mark = self._live.mark()
        logits = self._runner.check([last, *drafts], self._live.layers)  # [1 + K, V]
        ids = self._sampler.peek(logits, drafts, allowed)
        found = Step.build(logits, ids, self._request.logprobs).read()
        stood = next((at for at, guess in enumerate(drafts) if found[at].id != guess), len(drafts))
        self._live.fed([last, *drafts])
        self._feed_again(self._live.take_back(mark, 1 + stood))
        self._sampler.advance(ids[: stood + 1])
        self._account(draft, len(drafts), found[: stood + 1])
        return found[: stood + 1]

    def _feed_again(self, tokens: list[int]) -> None:
        if tokens:
            self._runner.feed(mx.array([tokens]), self._live.layers)
            self._live.fed(tokens)

    def _account(self, draft: Draft, checked: int, taken: list[Token]) -> None:
        now = time.perf_counter()
        if self._speculator is not None:
            self._speculator.judge(draft, checked, len(taken) - 1, now - self._read_at)
            self._speculator.accept([token.id for token in taken])
        self._read_at = self.outcome.last_token_at = now

    def _left(self) -> int | None:
        """How many tokens may still come."""
        return None if self._budget is None else self._budget - len(self.outcome.tokens)

    def _most_guesses(self) -> int:
        """After the token under way or the last one; a step gives one token more than there are right guesses."""
        left = self._left()
        return 1 << 30 if left is None else left - 1
