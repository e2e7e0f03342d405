"""Judges by what people write: `model:NAME`, `reward:length:10-60`, `random:7`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgelm.errors import OptionError
from edgelm.judges.judge import Judge
from edgelm.judges.model_judge import RUBRIC, AnsweringModel, ModelJudge
from edgelm.judges.random_judge import RandomJudge
from edgelm.judges.reward_judge import RewardJudge
from edgelm.rewards.combined import Rewards

FORMS = "model:NAME, reward:REWARD or random:SEED"


def read_judge(
    text: str,
    *,
    load: Callable[[str], AnsweringModel],
    read_rewards: Callable[[Sequence[str]], Rewards],
    rubric: str | None = None,
) -> Judge:
    """Make the judge that is written in `text`.

    Args:
        load: loads a model by name.
        read_rewards: makes rewards of what is written of them.
        rubric: what a model judges by; None is `RUBRIC`.

    Raises:
        OptionError: it is no judge, or a rubric for one that reads none.
        UnsupportedError: a model without a chat template.
        EdgeLMError: about a model or a reward.
    """
    kind, _, argument = text.partition(":")
    if kind not in ("model", "reward", "random") or not argument:
        raise OptionError(f"the judge is {text!r}, expected {FORMS}", settings=("by",))
    if rubric is not None and kind != "model":
        raise OptionError(f"{text} reads no rubric", hint="a rubric is for model:NAME", settings=("rubric",))
    if kind == "random":
        try:
            return RandomJudge(text, int(argument))
        except ValueError:
            raise OptionError(
                f"the judge is {text!r}, expected random:SEED with a whole number", settings=("by",)
            ) from None
    if kind == "reward":
        return RewardJudge(text, read_rewards([argument]))
    model = load(argument)
    try:
        return ModelJudge(text, model, RUBRIC if rubric is None else rubric)
    except BaseException:
        model.close()
        raise
