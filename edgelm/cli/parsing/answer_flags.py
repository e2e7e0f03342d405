"""Flags that every command with answers has: how they are drawn, how long they may be, and what form they must have."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelm.cli.show.output import say, warn
from edgelm.errors import OptionError

if TYPE_CHECKING:
    from edgelm.conversation.model import ChatModel

UNLIMITED = "none"


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Declare where an answer ends."""
    add = parser.add_argument
    add(
        "--max-tokens",
        type=_limit,
        metavar="N",
        help=f"stop an answer after so many tokens; {UNLIMITED} is until the context is full"
        " (default 1024, 8192 of a model that thinks)",
    )
    add(
        "--stop",
        action="append",
        default=[],
        metavar="TEXT",
        help="stop where this text appears (repeatable)",
    )


def add_logprobs(parser: argparse.ArgumentParser) -> None:
    """Declare how sure of each token is said."""
    parser.add_argument(
        "--logprobs",
        nargs="?",
        type=int,
        const=0,
        metavar="N",
        help="say how likely each token was, beside N others that could have stood there (0 to 20; default 0)",
    )


def add_best_of(parser: argparse.ArgumentParser) -> None:
    """Declare how many answers are drawn, and what tells the best of them."""
    parser.add_argument(
        "--best-of",
        type=int,
        metavar="N",
        help="draw N answers from one computation of the prompt and keep the best, as --judge-by tells it",
    )
    parser.add_argument(
        "--judge-by",
        action="append",
        metavar="REWARD",
        help="what the best is by: model:NAME, length:10-60, FILE.py:name, … (repeatable; docs/rewards.md)",
    )


def add_form(group: argparse._ArgumentGroup) -> None:
    """Declare the form of an answer, of which one may be given; `form.form_of_answer` reads it."""
    form = group.add_mutually_exclusive_group()
    form.add_argument(
        "--schema", metavar="FILE|JSON", help="valid by this JSON Schema, in a file or as it stands: '{…}'"
    )
    form.add_argument("--regex", metavar="TEXT", help="matching this regular expression as a whole")
    form.add_argument("--grammar", type=Path, metavar="FILE", help="in the language of this Lark grammar")


def add_sampling(group: argparse._ArgumentGroup) -> None:
    """Declare how the next token is chosen."""
    from edgelm.runtime.sampling.settings import Sampling

    group.add_argument(
        "--greedy",
        action="store_true",
        help="take the likeliest token always, whatever the model recommends",
    )
    Sampling.add_flags(group)


def said_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Collect how answers are drawn and how long they may be, as far as flags say it: the model says the rest."""
    from edgelm.runtime.sampling.settings import Sampling

    said = {
        name: getattr(arguments, name, None)
        for name in (*Sampling.__dataclass_fields__, "max_tokens", "logprobs", "best_of", "judge_by")
    }
    found = {name: None if value == UNLIMITED else value for name, value in said.items() if value is not None}
    return found | ({"greedy": True} if getattr(arguments, "greedy", False) else {})


def say_recommended(model: ChatModel, said: dict[str, Any]) -> None:
    """Tell the person what of the model's own recommendation acts beside what they said."""
    recommended = model.recommended
    for problem in recommended.passed_over:
        warn(problem)
    words = recommended.in_words(said)
    if words:
        say(f"sampling as {model.name} recommends: {words} (--greedy takes the likeliest tokens)")


def _limit(text: str) -> int | str:
    """Read a number of tokens, or no limit.

    Raises:
        OptionError: neither.
    """
    if text == UNLIMITED:
        return UNLIMITED
    try:
        return int(text)
    except ValueError:
        raise OptionError(f"--max-tokens is {text!r}, expected a whole number or {UNLIMITED}") from None
