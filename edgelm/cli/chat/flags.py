"""The flags of `edgelm chat`, by what they are about."""

from __future__ import annotations

import argparse
from pathlib import Path

from edgelm.cli.parsing.answer_flags import add_best_of, add_form, add_limits, add_logprobs, add_sampling
from edgelm.cli.parsing.model_flags import add_dtype


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare all of them."""
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="a name from the library, a path, or a Hub id"
    )
    _add_conversation(parser)
    _add_output(parser)
    _add_thinking_and_tools(parser)
    _add_speed(parser.add_argument_group("speed and memory"))
    add_form(parser.add_argument_group("form of the answer"))
    add_sampling(parser.add_argument_group("sampling; what is not said is as the model recommends"))


def _add_conversation(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-p", "--prompt", metavar="TEXT", help="answer this and leave; text on stdin is added after it")
    add("--system", metavar="TEXT|@FILE", help="the system prompt; @FILE reads it from a file")
    add("--persona", metavar="NAME", help="a system prompt and sampling that edgelm personas saved")
    add(
        "--log",
        action="store_true",
        help="keep a -p question and its answer as a chat, which edgelm chats lists",
    )
    add(
        "--adapter",
        action="append",
        metavar="NAME[=WEIGHT]",
        help="an adapter to put on the model, from the library or a path (repeatable)",
    )
    add(
        "--continue",
        dest="session",
        nargs="?",
        const="",
        metavar="ID",
        help="go on with a saved chat: the latest, or the one that /sessions lists under ID",
    )
    add_limits(parser)
    add_best_of(parser)


def _add_output(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--json", action="store_true", help="print events as JSON lines, with token/s and time to first token"
    )
    add("--plain", action="store_true", help="no colour and no redrawing, for screen readers and logs")
    add_logprobs(parser)
    thinking = parser.add_mutually_exclusive_group()
    shown = "what a model thinks before it answers (default: shown on a terminal)"
    thinking.add_argument("--show-thinking", dest="thinking", action="store_true", default=None, help=shown)
    thinking.add_argument("--hide-thinking", dest="thinking", action="store_false", default=None)


def _add_thinking_and_tools(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--think",
        dest="enable_thinking",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="let the model think before it answers, or not (default: as the model does by itself)",
    )
    add(
        "--tools",
        type=Path,
        metavar="FILE",
        help="a Python file with functions the model may call, when you agree",
    )


def _add_speed(group: argparse._ArgumentGroup) -> None:
    from edgelm.zoo.caches.settings import CacheSettings

    add = group.add_argument
    add("--no-fit-check", action="store_true", help="load even if it would not fit in memory")
    add(
        "--draft",
        metavar="MODEL",
        help="a smaller model of the same family that guesses ahead; the text is the same, on Metal up to rounding",
    )
    add(
        "--no-speculation",
        dest="speculation",
        action="store_false",
        help="never guess ahead (guessing stops by itself where it does not pay)",
    )
    add(
        "--no-disk-cache",
        dest="disk_cache",
        action="store_false",
        help="do not keep computed prompts on the disk for the next time",
    )
    add(
        "--no-wire",
        dest="wire",
        action="store_false",
        help="let macOS page out a model that nearly fills the memory",
    )
    CacheSettings.add_flags(group)
    add_dtype(group)
