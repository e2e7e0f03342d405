"""Questions as the data of a run: what is known of them before an answer is drawn."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from edgelm.tune.data.dataset import Dataset
from edgelm.tune.data.rows import Example
from edgelm.tune.rollouts.questions import RewardedQuestion


@dataclass(frozen=True)
class AskedData(Dataset):
    """Rows that are prompts alone."""

    questions: tuple[RewardedQuestion, ...] = ()
    """What each row asks, and what rewards read of it."""

    @classmethod
    def of(cls, questions: Sequence[RewardedQuestion]) -> AskedData:
        """Make the data of some questions."""
        rows = tuple(Example(each.ids, (False,) * len(each.ids), each.origin) for each in questions)
        return cls(rows, "rollout", questions=tuple(questions))

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the content, what rewards read included, in hexadecimal."""
        said = [[list(each.ids), each.columns] for each in self.questions]
        return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


def split_questions(
    questions: Sequence[RewardedQuestion], share: float, seed: int
) -> tuple[list[RewardedQuestion], list[RewardedQuestion]]:
    """Return those to train on, and those held out: a share of the different prompts, which rows of one prompt share."""
    prompts = sorted({each.ids for each in questions})
    count = min(round(share * len(prompts)), len(prompts) - 1) if share else 0
    held = set(random.Random(f"{seed}/questions").sample(prompts, max(0, count)))
    trained = [each for each in questions if each.ids not in held]
    return trained, [each for each in questions if each.ids in held]
