"""Functions of one's own: TRL's convention, and everything they can do wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelm.errors import NotFoundError, RewardError
from edgelm.rewards.functions.file import FileReward
from edgelm.rewards.functions.given import FunctionReward
from edgelm.rewards.reward import JudgedAnswer

pytestmark = pytest.mark.slow

CHAT = [{"role": "user", "content": "Name a colour."}]
ANSWERS = [JudgedAnswer(CHAT, "blue", {"want": "blue"}), JudgedAnswer(CHAT, "red", {"want": "blue"})]

SOURCE = """
import neighbour

def by_column(prompts, completions, want, **rest):
    print("a word of its own")
    assert prompts[0][0]["content"] == "Name a colour."
    return [float(c[0]["content"] == w) for c, w in zip(completions, want)]

def narrow(completions):
    return [neighbour.VALUE for _ in completions]

def raises(completions): raise KeyError("colour")
def leaves(completions): import os; os._exit(3)
def hangs(completions): import time; time.sleep(600)
def word(completions): return "good"
def words(completions): return ["good"] * len(completions)
def nan(completions): return [1.0, float("nan")]
def short(completions): return [1.0]
def nothing(completions): return None
def numpy_numbers(completions):
    import numpy
    return numpy.arange(len(completions), dtype="float32")
VALUE = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "neighbour.py").write_text("VALUE = 0.25")
    (tmp_path / "mine.py").write_text(SOURCE)
    return tmp_path / "mine.py"


@pytest.fixture
def made(file: Path) -> Iterator[Callable[..., FileReward]]:
    rewards: list[FileReward] = []

    def make(name: str, **settings: Any) -> FileReward:
        rewards.append(FileReward(file, name, **settings))
        return rewards[-1]

    yield make
    for reward in rewards:
        reward.close()


def test_a_function_of_a_file_gets_rows_as_trl_gives_them(
    made: Callable[..., FileReward], tmp_path: Path
) -> None:
    reward = made("by_column", log=tmp_path / "log")
    assert reward.score(ANSWERS) == [1.0, 0.0]
    assert reward.score(ANSWERS[::-1]) == [0.0, 1.0]
    assert (tmp_path / "log").read_text().count("a word of its own") == 2


def test_a_function_gets_what_it_names_and_may_import_its_neighbours(made: Callable[..., FileReward]) -> None:
    assert made("narrow").score(ANSWERS) == [0.25, 0.25]
    assert made("numpy_numbers").score(ANSWERS) == [0.0, 1.0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("raises", "raised KeyError: 'colour'"),
        ("leaves", "ended its process (exit code 3)"),
        ("word", "'good', expected a list of 2 numbers"),
        ("words", "'good' for answer 1, expected a finite number"),
        ("nan", "nan for answer 2"),
        ("short", "1 values, expected 2"),
        ("nothing", "raised TypeError"),
    ],
)
def test_what_a_function_does_wrong_is_told_and_the_next_call_is_served(
    made: Callable[..., FileReward], name: str, message: str
) -> None:
    reward = made(name)
    for _ in range(2):
        with pytest.raises(RewardError) as told:
            reward.score(ANSWERS)
        assert message in str(told.value)


def test_one_that_hangs_is_ended(made: Callable[..., FileReward]) -> None:
    reward = made("by_column")
    reward.score(ANSWERS)
    hanging = made("hangs")
    hanging._seconds = 0.2
    with pytest.raises(RewardError, match=r"has not answered within 0\.2 s, and was ended"):
        hanging.score(ANSWERS)


def test_a_file_without_the_function_is_refused_at_once(file: Path, tmp_path: Path) -> None:
    with pytest.raises(RewardError, match="is not in the file"):
        FileReward(file, "missing")
    with pytest.raises(RewardError, match="is no function"):
        FileReward(file, "VALUE")
    (tmp_path / "broken.py").write_text("import nothing_of_this_name")
    with pytest.raises(RewardError, match="cannot be loaded: ModuleNotFoundError"):
        FileReward(tmp_path / "broken.py", "reward")
    with pytest.raises(NotFoundError):
        FileReward(tmp_path / "none.py", "reward")


def test_a_function_that_was_handed_over() -> None:
    def good(completions: list[str], **columns: Any) -> Any:
        return np.array([len(text) for text in completions])

    assert FunctionReward(good).score([JudgedAnswer("q", "four"), JudgedAnswer("q", "")]) == [4.0, 0.0]
    with pytest.raises(RewardError, match="<lambda> raised ZeroDivisionError"):
        FunctionReward(lambda completions: 1 / 0).score(ANSWERS)
    with pytest.raises(RewardError, match=r"slow has not answered within 0\.01 s"):
        FunctionReward(lambda completions: time.sleep(5), name="slow", seconds=0.01).score(ANSWERS)
