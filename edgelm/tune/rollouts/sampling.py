"""Groups of answers of the network that is being trained, drawn side by side from one computation of each prompt.

The log-probabilities that come with them are those of the distribution that each token was really drawn from, whatever
temperature and filters there are. What an answer is depends on the weights, the question, the seed and its number alone, so a
group that is drawn again is the same group (bit for bit on MLX's CPU backend).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import mlx.core as mx

from edgelm.errors import EngineError, Interrupted
from edgelm.runtime.engine import Engine
from edgelm.runtime.events import Finished
from edgelm.runtime.requests import Cancel, Request
from edgelm.runtime.sampling.settings import Sampling
from edgelm.text.segments import Segment, Segmenter
from edgelm.tune.rollouts.questions import RewardedQuestion
from edgelm.tune.rollouts.rollout import Rollout, RolloutGroup
from edgelm.tune.settings import RolloutSettings


class GroupSampler:
    """Draws groups of answers.

    Args:
        engine: of the network, which is in evaluation mode while it draws; what it keeps of prompts is let go of afterwards,
            since the weights change.
        tokenizer: mlx-lm's TokenizerWrapper.
        stop_tokens: ids that end an answer.
        longest: most tokens of an answer.
    """

    def __init__(
        self,
        network: Any,
        engine: Engine,
        tokenizer: Any,
        stop_tokens: frozenset[int],
        settings: RolloutSettings,
        longest: int,
    ) -> None:
        self._network, self._engine = network, engine
        self._tokenizer, self._stop_tokens = tokenizer, stop_tokens
        self._settings, self._longest = settings, longest

    def groups(
        self, questions: Mapping[int, RewardedQuestion], seed: str, cancel: Cancel
    ) -> Iterator[RolloutGroup]:
        """Yield the group of each question, by its number, as it is complete.

        Args:
            seed: with the question's number and the answer's, decides what is drawn.

        Raises:
            PromptError, FitError, EngineError: what befell a question.
            Interrupted: `cancel` was set.
        """
        requests = {number: self._request(asked, f"{seed}/{number}") for number, asked in questions.items()}
        yield from self._drawn(questions, requests, cancel)

    def likeliest(self, questions: Mapping[int, RewardedQuestion], cancel: Cancel) -> Iterator[RolloutGroup]:
        """Yield for each question, by its number, the answer of the likeliest tokens. For errors see `groups`."""
        requests = {number: self._plain(asked, Sampling(), 1) for number, asked in questions.items()}
        yield from self._drawn(questions, requests, cancel)

    def _drawn(
        self, questions: Mapping[int, RewardedQuestion], requests: Mapping[int, Request], cancel: Cancel
    ) -> Iterator[RolloutGroup]:
        if not requests:
            return
        numbers, done = list(requests), 0
        self._network.eval()
        try:
            for group in self._engine.answer(list(requests.values()), cancel):
                if group.error is not None:
                    raise group.error
                number = numbers[group.index]
                yield self._group(number, questions[number], group.answers)
                done += 1
        finally:
            self._network.train()
            self._engine.reset()
            mx.clear_cache()
        if done < len(numbers):
            raise Interrupted("stopped while answers were drawn")

    def _request(self, question: RewardedQuestion, seed: str) -> Request:
        settings = self._settings
        sampling = Sampling(
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            seed=int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "little"),
        )
        return self._plain(question, sampling, settings.group_size)

    def _plain(self, question: RewardedQuestion, sampling: Sampling, count: int) -> Request:
        return Request(
            question.ids,
            sampling=sampling,
            max_tokens=self._longest,
            stop_tokens=self._stop_tokens,
            n=count,
            scored=True,
        )

    def _group(self, number: int, question: RewardedQuestion, answers: Sequence[Finished]) -> RolloutGroup:
        return RolloutGroup(number, tuple(self._rollout(question, answer) for answer in answers))

    def _rollout(self, question: RewardedQuestion, answer: Finished) -> Rollout:
        if answer.scores is None:
            raise EngineError("an answer came without its log-probabilities")
        text = spoken(self._tokenizer, question.ids, answer.tokens)
        is_cut_off = answer.reason != "stop"
        return Rollout(answer.scores.tokens, answer.scores.sampled, text, is_cut_off)


def spoken(tokenizer: Any, prompt: Sequence[int], tokens: Sequence[int]) -> str:
    """Return the text of an answer without thinking; what is written as a call stays as it was written."""
    segmenter = Segmenter(tokenizer, prompt)
    pieces = [piece for token in tokens for piece in segmenter.add(token)]
    pieces += segmenter.finish()
    return "".join(
        piece.text for piece in pieces if not isinstance(piece, Segment) or piece.channel == "answer"
    ).strip()
