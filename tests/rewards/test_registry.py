"""Rewards by what people write, their sum, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgelm.errors import EdgeLMError, FormatError, NotFoundError, OptionError
from edgelm.rewards.registry import NAMED, read_rewards
from edgelm.rewards.reward import JudgedAnswer


def test_a_sum_is_weighted_and_tells_its_parts() -> None:
    answers = [
        JudgedAnswer("q", "four", {"answer": "four"}),
        JudgedAnswer("q", "it is four", {"answer": "four"}),
    ]
    with read_rewards(["exact", "0.5*length:2", "-1*regex:^it"]) as rewards:
        scores = rewards.scores(answers)
    assert scores.parts == {"exact": [1.0, 0.0], "length": [1.0, 0.5], "regex": [0.0, 1.0]}
    assert scores.totals == [1.5, -0.75]


def test_who_says_nothing_does_not_count() -> None:
    with read_rewards(["exact", "length:5"]) as rewards:
        assert rewards.scores([JudgedAnswer("q", "a", {})]).totals == [1.0]
    with read_rewards(["exact"]) as rewards:
        assert rewards.scores([JudgedAnswer("q", "a", {})]).totals == [None]
        assert rewards.scores([]).totals == []


def test_equal_rewards_have_names_of_their_own() -> None:
    with read_rewards(["regex:a", "regex:b", "regex:c"]) as rewards:
        assert rewards.names == ["regex", "regex-2", "regex-3"]
        assert rewards.scores([JudgedAnswer("q", "ab")]).totals == [2.0]


def test_rows_without_what_a_reward_reads_are_named() -> None:
    with (
        read_rewards(["exact", "tests"]) as rewards,
        pytest.raises(FormatError, match="row 3 has no 'tests'"),
    ):
        rewards.check_row({"answer": 1}, "row 3")


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("exakt", OptionError, "exact, numeric, regex"),
        ("", OptionError, "rewards are"),
        ("exact:first", OptionError, "exact:final"),
        ("numeric:-1", OptionError, "numeric:TOLERANCE"),
        ("numeric:nan", OptionError, "numeric:TOLERANCE"),
        ("regex:", OptionError, "regex:PATTERN"),
        ("regex:(", OptionError, "cannot be read"),
        ("length:ten", OptionError, "length:MOST"),
        ("length:9-3", OptionError, "9-3 words"),
        ("length:0", OptionError, "0-0 words"),
        ("schema:", OptionError, "schema:FILE"),
        ("schema:missing.json", NotFoundError, "missing.json"),
        ("tests:0", OptionError, "tests may take"),
        ("missing.py:reward", NotFoundError, "missing.py"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(text: str, kind: type[EdgeLMError], message: str) -> None:
    with pytest.raises(kind, match=r".*") as refused:
        read_rewards([text])
    assert message in str(refused.value)


def test_no_reward_is_none() -> None:
    with pytest.raises(OptionError, match="no reward"):
        read_rewards([])


def test_a_file_that_is_no_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('{"type": "nothing"}')
    with pytest.raises(FormatError, match=r"bad\.json is no JSON Schema"):
        read_rewards([f"schema:{tmp_path / 'bad.json'}"])


def test_every_name_is_in_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "rewards.md").read_text(encoding="utf-8")
    assert all(f"| `{name}" in page for name in NAMED)
