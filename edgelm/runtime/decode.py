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
from collections.abc import Generator, Sequence

import mlx.core as mx

from edgelm.runtime.cache.live import LiveCache
from edgelm.runtime.constraints.constraint import Constraint
from edgelm.runtime.events import Token
from edgelm.runtime.runner import ModelRunner
from edgelm.runtime.sampling.sampler import Sampler, logprobs_of
from edgelm.runtime.sampling.step import Step
from edgelm.runtime.sequence import ActiveRequest
from edgelm.runtime.speculation.draft import Draft
from edgelm.runtime.speculation.governor import MOST
from edgelm.runtime.speculation.speculator import Speculator

_CLEAR_EVERY = 256  # tokens; MLX's buffer cache grows with the KV cache's reallocations


class Decoder:
    """Continues one sequence, whose tokens but the last are in the cache.

    Args:
        runner: calls the network.
        live: the caches.
        active: the request; it takes the tokens and says when it has ended.
        speculator: where guesses come from; None for none.
    """

    def __init__(
        self,
        runner: ModelRunner,
        live: LiveCache,
        active: ActiveRequest,
        speculator: Speculator | None = None,
    ) -> None:
        self._runner = runner
        self._live = live
        self._active = active
        self._request = active.request
        self._speculator = speculator
        self._constraint: Constraint | None = None
        self._read_at = 0.0
        self._is_over = False

    def steps(self) -> Generator[None, None, bool]:
        """Deal token after token, one with each `next`.

        Returns:
            Whether the request has ended; else it leaves, and all its tokens but the last are in the cache.
        """
        step = self._first()
        while True:
            leaves = self._active.leaves
            ahead = None if leaves or self._waits() else self._logits_after(step.ids)
            following = self._choose(ahead) if ahead is not None and self._constraint is None else None
            (token,) = self._read(step)
            (scores,) = step.read_scores() or (None,)
            if ahead is not None:
                self._live.fed([token.id])
            if (yield from self._take(token, scores)) or leaves:
                return self._is_over
            if self._speculator is not None:
                self._speculator.observe(token.id)
            if following is None:
                following = (
                    self._choose(ahead) if ahead is not None else (yield from self._speculate(token.id))
                )
            if following is None:
                return self._is_over
            step = following

    def _first(self) -> Step:
        """Feed the last token that is known."""
        active = self._active
        logits = self._logits_after(mx.array(active.ids[-1:]))
        self._live.fed(active.keys[-1:])
        columns = logits.shape[-1]
        prompt, said = active.ids[: active.prompt_tokens], active.ids[active.prompt_tokens :]
        self._sampler = Sampler(self._request.sampling, prompt, columns, said=said, seed=active.seed)
        self._constraint = active.constraint(columns)
        return self._choose(logits)

    def _waits(self) -> bool:
        """Whether the token under way must be known before anything is fed."""
        left = self._active.left
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
        if self._request.scored:
            ids, sampled = self._sampler.sample_scored(logits, allowed)
            step = Step(ids).scored(sampled, logprobs_of(logits, ids))
        else:
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
        tokens = step.read()
        now = time.perf_counter()
        if self._read_at and self._speculator is not None:
            self._speculator.time_plain(now - self._read_at)
        self._read_at = now
        return tokens

    def _take(self, token: Token, scores: Sequence[float] | None = None) -> Generator[None, None, bool]:
        """Deal a token, and go on when its reader has had it; whether it is the last."""
        active = self._active
        self._is_over = active.deal(token, scores)
        if not self._is_over:
            yield
            if len(active.tokens) % _CLEAR_EVERY == 0:
                mx.clear_cache()
            self._is_over = active.ends()
        return self._is_over

    def _speculate(self, last: int) -> Generator[None, None, Step | None]:
        """Go on from `last`, which is known and not fed, while guesses pay; then plainly. None: it is over, or leaves."""
        while not self._active.leaves:
            draft = self._draft()
            if draft is None:
                return self._plain(last)
            taken = self._check(last, draft)
            for token in taken:
                if (yield from self._take(token)):
                    return None
            last = taken[-1].id
        return None

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
        tokens = Step.build(logits, ids, self._request.logprobs).read()
        stood = next((at for at, guess in enumerate(drafts) if tokens[at].id != guess), len(drafts))
        self._live.fed([last, *drafts])
        self._feed_again(self._live.take_back(mark, 1 + stood))
        self._sampler.advance(ids[: stood + 1])
        self._account(draft, len(drafts), tokens[: stood + 1])
        return tokens[: stood + 1]

    def _feed_again(self, tokens: list[int]) -> None:
        if tokens:
            self._runner.feed(mx.array([tokens]), self._live.layers)
            self._live.fed(tokens)

    def _account(self, draft: Draft, checked: int, taken: list[Token]) -> None:
        now = time.perf_counter()
        if self._speculator is not None:
            self._speculator.judge(draft, checked, len(taken) - 1, now - self._read_at)
            self._speculator.accept([token.id for token in taken])
        self._read_at = now

    def _most_guesses(self) -> int:
        """After the token under way or the last one; a step gives one token more than there are right guesses."""
        left = self._active.left
        return 1 << 30 if left is None else left - 1
