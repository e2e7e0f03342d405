"""Best-of-n: several answers from one computation of the prompt, of which the one that is judged best is the reply.

The events are those of a plain reply, so whoever reads one can read this; before the reply's own pieces one event tells how the
answers were judged, and which others there are. What judges is any reward: a reward model (`model:NAME`), or a rule such as
`length:10-60`.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm.adapters.find import check_uses
from edgelm.errors import OptionError
from edgelm.rewards.combined import RewardScores
from edgelm.rewards.reward import JudgedAnswer
from edgelm.runtime.assemble import AnswersWork, Ready
from edgelm.runtime.events import ChatEvent, OtherAnswer, Picked, Prefill
from edgelm.runtime.generation.completion import Completion, collect
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.runtime.worker import EngineThread
from edgelm.tune.reward_model.named import read_all_rewards

DRAWN_TEMPERATURE = 0.8
"""The temperature of answers that are drawn where a model would take the likeliest token: all would be one."""


@dataclass(frozen=True)
class BestOf:
    """A prompt whose answers are drawn and judged.

    Args:
        ids: the prompt's tokens.
        prompt: the same as a judge reads it: text, or the messages before the answer.
        options: with `best_of` and `judge_by`.
        tools: JSON definitions of functions that the model may call.
    """

    ids: Sequence[int]
    prompt: str | Sequence[Mapping[str, Any]]
    options: GenerationOptions
    tools: Sequence[Mapping[str, Any]] | None = None

    def events(self, thread: EngineThread[Ready], model: Path) -> Generator[ChatEvent, None, None]:
        """Yield `Prefill`s, one `Picked`, and then the events of the best answer.

        Where no answer gets a number, the first is the reply.

        Args:
            model: the directory of the model on the thread.

        Raises:
            OptionError, NotFoundError, UnsupportedError, FormatError: a judge that cannot judge here, before anything is drawn.
            RewardError: a judge that cannot judge these answers; and what a plain reply raises.
        """
        check_uses(self.options.adapters or (), model)
        self._check()
        heard: list[list[ChatEvent]] = [[] for _ in range(self.options.best_of)]
        work = AnswersWork(self.ids, self._drawn(), self.tools, self.options.best_of)
        with closing(thread.share(work).events()) as events:
            for number, event in events:
                if not isinstance(event, Prefill):
                    heard[number].append(event)
                elif number == 0:
                    yield event
        answers = [collect(each, self.options.grammar) for each in heard]
        if any(answer.reason == "cancelled" for answer in answers):
            yield from heard[0]
            return
        chosen = self._chosen(answers, thread)
        yield chosen
        yield from heard[chosen.number]

    def _check(self) -> None:
        """Refuse a judge that is none, or that reads of a row what no chat has, before anything is drawn."""
        with read_all_rewards(self.options.judge_by) as judges:
            judges.check_row({}, "a question that is asked here")

    def _drawn(self) -> GenerationOptions:
        sampling = self.options.sampling
        if not sampling.is_greedy:
            return self.options
        return self.options.changed(
            temperature=DRAWN_TEMPERATURE, top_k=0 if sampling.top_k == 1 else sampling.top_k
        )

    def _chosen(self, answers: Sequence[Completion], thread: EngineThread[Ready]) -> Picked:
        judged = [JudgedAnswer(self.prompt, answer.text) for answer in answers]
        scores = thread.call(lambda ready: self._scores(judged, ready)).totals
        best = max(range(len(answers)), key=lambda at: _rank(scores[at], at))
        others = sorted(
            (at for at in range(len(answers)) if at != best), key=lambda at: _rank(scores[at], at)
        )
        return Picked(
            best,
            scores[best],
            tuple(
                OtherAnswer(answers[at].text, scores[at], answers[at].thinking, answers[at].reason)
                for at in reversed(others)
            ),
        )

    def _scores(self, answers: Sequence[JudgedAnswer], ready: Ready) -> RewardScores:
        with read_all_rewards(
            self.options.judge_by, beside=lambda: ready.loaded, loaded=ready.kept
        ) as judges:
            return judges.scores(answers)


def _rank(score: float | None, number: int) -> tuple[bool, float, int]:
    """Order answers: those with a number above those without, and of equals the first above the others."""
    return (score is not None, score or 0.0, -number)


def refuse_several(options: GenerationOptions, where: str) -> None:
    """Refuse best-of-n where answers are handed on as they come.

    Raises:
        OptionError: it is asked for.
    """
    if options.best_of > 1:
        raise OptionError(
            f"best_of is {options.best_of}, and {where} hands answers on while they are drawn",
            hint="generate, send and events draw several and keep the best",
            settings=("best_of",),
        )
