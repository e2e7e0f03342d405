"""Rewards by what people write: `exact`, `0.2*length:10-60`, `regex:^Answer: \\d+$`, `FILE.py:name`.

[WEIGHT*]NAME[:ARGUMENT]
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edgelm.errors import OptionError
from edgelm.rewards.combined import Rewards, WeightedReward
from edgelm.rewards.functions.file import FileReward
from edgelm.rewards.reward import Reward
from edgelm.rewards.verifiable.form import LengthReward, RegexReward, SchemaReward
from edgelm.rewards.verifiable.right_answer import ExactReward, NumericReward
from edgelm.rewards.verifiable.unit_tests import UnitTestReward

_WEIGHT = re.compile(r"(-?\d+(?:\.\d+)?)\*(.+)", re.DOTALL)
_FILE = re.compile(r"(.+\.py):([A-Za-z_]\w*)", re.DOTALL)


def _exact(argument: str) -> Reward:
    if argument not in ("", "final"):
        raise _misread("exact", argument, "exact, or exact:final for the result that an answer states last")
    return ExactReward(is_final=argument == "final")


def _numeric(argument: str) -> Reward:
    return NumericReward(_number("numeric", argument, "numeric:TOLERANCE") if argument else 1e-6)


def _regex(argument: str) -> Reward:
    if not argument:
        raise _misread("regex", argument, "regex:PATTERN")
    return RegexReward(argument)


def _schema(argument: str) -> Reward:
    if not argument:
        raise _misread("schema", argument, "schema:FILE.json")
    return SchemaReward.of_file(Path(argument).expanduser())


def _length(argument: str) -> Reward:
    least, dash, most = argument.partition("-")
    if not (least.isdecimal() and (most.isdecimal() if dash else not most)):
        raise _misread("length", argument, "length:MOST or length:LEAST-MOST, in words")
    return LengthReward(int(least), int(most)) if dash else LengthReward(0, int(least))


def _tests(argument: str) -> Reward:
    return UnitTestReward(_number("tests", argument, "tests:SECONDS")) if argument else UnitTestReward()


NAMED: Mapping[str, tuple[Callable[[str], Reward], str]] = {
    "exact": (
        _exact,
        "the right answer (field answer), white space aside; exact:final reads the result stated last",
    ),
    "numeric": (_numeric, "the right number (field answer); numeric:0.01 with a tolerance"),
    "regex": (_regex, "a pattern is found: regex:PATTERN"),
    "schema": (_schema, "JSON of a schema: schema:FILE.json"),
    "length": (_length, "words: length:60 at most, length:10-60"),
    "tests": (_tests, "the share of unit tests (field tests) that the code passes; tests:SECONDS"),
}
"""Every reward that has a name: how it is made of its argument, and what it is, in words."""


def read_rewards(
    texts: Sequence[str],
    *,
    log: Path | None = None,
    more: Mapping[str, Callable[[str], Reward]] | None = None,
) -> Rewards:
    """Make the weighted sum of the rewards that are written in `texts`.

    Args:
        log: where the output of a file's function goes.
        more: further rewards by name, which make one of an argument: those that need a model are known further up.

    Raises:
        OptionError: none, or one that cannot be read.
        NotFoundError, FormatError, RewardError: a file that is missing, or is not what it has to be.
    """
    if not texts:
        raise OptionError("no reward is named", hint=_hint(more or {}), settings=("reward",))
    made: list[WeightedReward] = []
    try:
        made.extend(_weighted(text, log, more or {}) for text in texts)
    except BaseException:
        for each in made:
            each.reward.close()
        raise
    return Rewards(made)


def _weighted(text: str, log: Path | None, more: Mapping[str, Callable[[str], Reward]]) -> WeightedReward:
    weight = 1.0
    if (found := _WEIGHT.fullmatch(text)) is not None:
        weight, text = float(found[1]), found[2]
    if (file := _FILE.fullmatch(text)) is not None:
        return WeightedReward(weight, FileReward(Path(file[1]).expanduser(), file[2], log=log))
    name, _, argument = text.partition(":")
    if name in more:
        return WeightedReward(weight, more[name](argument))
    if name not in NAMED:
        raise OptionError(f"the reward is {text!r}, which is none", hint=_hint(more), settings=("reward",))
    return WeightedReward(weight, NAMED[name][0](argument))


def _number(name: str, argument: str, form: str) -> float:
    try:
        number = float(argument)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise _misread(name, argument, form)
    return number


def _misread(name: str, argument: str, form: str) -> OptionError:
    return OptionError(f"the reward {name} is given {argument!r}, expected {form}", settings=("reward",))


def _hint(more: Mapping[str, Callable[[str], Reward]]) -> str:
    return f"rewards are {', '.join([*NAMED, *more])}, or FILE.py:name for a function of your own"
