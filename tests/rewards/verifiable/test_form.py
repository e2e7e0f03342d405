"""Forms: what is one is worth 1."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgelm.errors import NotFoundError
from edgelm.rewards.reward import JudgedAnswer, Reward
from edgelm.rewards.verifiable.form import LengthReward, RegexReward, SchemaReward
from edgelm.rewards.verifiable.right_answer import ExactReward, NumericReward


def values(reward: Reward, *texts: str, **columns: object) -> list[float | None]:
    return reward.score([JudgedAnswer("q", text, columns) for text in texts])


def test_exact() -> None:
    assert values(ExactReward(), "the  cat\n", "the dog", "The cat", answer="the cat") == [1.0, 0.0, 0.0]
    assert values(ExactReward(is_final=True), "I think… the answer is 7.", "7 or 8", answer="#### 7") == [
        1.0,
        0.0,
    ]


def test_numeric() -> None:
    right = NumericReward()
    assert values(right, "#### 72", "72.0000001", "about 73", "none", answer="so 72") == [1.0, 1.0, 0.0, 0.0]
    assert values(NumericReward(0.05), "104", "106", answer=100) == [1.0, 0.0]
    assert values(right, "72", answer="no number") == [None]


def test_regex_is_found_on_a_line_of_its_own() -> None:
    assert values(RegexReward(r"^Answer: \d+$"), "Hm.\nAnswer: 3", "Answer: three") == [1.0, 0.0]


def test_schema_counts_formats_and_allows_nothing_around(tmp_path: Path) -> None:
    schema = {
        "type": "object",
        "properties": {"day": {"type": "string", "format": "date"}},
        "required": ["day"],
    }
    (tmp_path / "s.json").write_text(json.dumps(schema))
    reward = SchemaReward.of_file(tmp_path / "s.json")
    texts = ['{"day": "2026-11-30"}', '{"day": "soon"}', "{}", 'Sure! {"day": "2026-11-30"}', "[" * 100_000]
    assert values(reward, *texts) == [1.0, 0.0, 0.0, 0.0, 0.0]
    with pytest.raises(NotFoundError):
        SchemaReward.of_file(tmp_path / "none.json")


def test_length_falls_in_a_line() -> None:
    reward = LengthReward(2, 4)
    assert values(reward, "", "a", "a b", "a b c d", "a b c d e f", "a " * 8, "a " * 99) == [
        0,
        0.5,
        1,
        1,
        0.5,
        0,
        0,
    ]
