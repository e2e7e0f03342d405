"""`edgelm arena vote`: both answers, one key, the next match. Says nothing of who wrote what before the vote."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from typing import TYPE_CHECKING

from edgelm.cli.commands.arena.keys import END, Read, key_reader
from edgelm.cli.show.output import console, dim, is_terminal, say
from edgelm.units import count

if TYPE_CHECKING:
    from edgelm.arena.arena import Arena
    from edgelm.arena.ballot import Ballot
    from edgelm.arena.records import BlindMatch, Choice

CHOICES: dict[str, Choice] = {
    "a": "first",
    "1": "first",
    "b": "second",
    "2": "second",
    "t": "tie",
    "=": "tie",
    "x": "both_bad",
    "s": "skip",
}
_HELP = "a better · b better · t tie · x both bad · s skip · u undo · q quit"
_WIDE = 100
"""Columns from which answers stand side by side."""
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What an answer may not do to the terminal."""


def vote(arguments: argparse.Namespace) -> None:
    """Vote on an arena until its end or until somebody quits."""
    from edgelm.arena.arena import Arena

    with Arena.open(arguments.name) as arena:
        vote_on(arena, reveal=arguments.reveal)


def vote_on(arena: Arena, *, reveal: bool) -> None:
    """Ask about match after match."""
    ballot = arena.ballot()
    with key_reader() as read:
        ended = _ask(ballot, read, reveal=reveal)
    done = ballot.progress
    said = f"{done.done} of {count(done.total, 'match', 'matches')} voted on"
    print(f"\n{said}; edgelm arena report {arena.name} says what the votes tell")
    if not ended:
        say(f"edgelm arena vote {shlex.quote(arena.name)} goes on")


def _ask(ballot: Ballot, read: Read, *, reveal: bool) -> bool:
    """Whether the end was reached."""
    while True:
        match = ballot.next()
        if match is None:
            print(
                "\nno match is left to vote on; u takes the last vote back, any other key leaves", flush=True
            )
            if read() == "u" and ballot.undo():
                continue
            return True
        _show(match, ballot)
        if not _answered(match, ballot, read, reveal=reveal):
            return False


def _answered(match: BlindMatch, ballot: Ballot, read: Read, *, reveal: bool) -> bool:
    """Wait for a key that says something of a match; False to leave."""
    while True:
        key = read()
        if key in ("q", END):
            return False
        if key == "u":
            if ballot.undo():
                print("\nthe last vote is taken back")
                return True
            print("there is no vote to take back", flush=True)
        elif key in CHOICES:
            if not ballot.vote(match.id, CHOICES[key]):
                say("this match was voted on elsewhere meanwhile; that vote stands")
                return True
            print(f"  {CHOICES[key].replace('_', ' ')}")
            if reveal:
                names = ballot.reveal(match.id)
                print(f"  A was {names.first}, B was {names.second}")
            return True
        elif key.strip():
            print(f"{key!r} is no vote: {_HELP}", flush=True)


def _show(match: BlindMatch, ballot: Ballot) -> None:
    from rich.rule import Rule
    from rich.table import Table
    from rich.text import Text

    to = console()
    done = ballot.progress
    to.print()
    to.print(Rule(Text(f"{done.done + 1} of {done.total}")))
    for message in match.messages:
        if message["role"] != "system":
            head = "" if len(match.messages) == 1 else f"{message['role']}: "
            to.print(Text(head + _clean(str(message.get("content") or "")), style="bold"))
    to.print()
    answers = [Text(_clean(match.first)), Text(_clean(match.second))]
    if to.width >= _WIDE and is_terminal(sys.stdout):
        table = Table(box=None, expand=True, pad_edge=False, header_style="bold", padding=(0, 2))
        for label in "AB":
            table.add_column(label, ratio=1, overflow="fold")
        table.add_row(*answers)
        to.print(table)
    else:
        for label, answer in zip("AB", answers, strict=True):
            to.print(Text(f"— {label} —", style="bold"))
            to.print(answer)
            to.print()
    if match.names_itself:
        print("(one of the answers says who wrote it)")
    print(dim(_HELP, sys.stdout), flush=True)


def _clean(text: str) -> str:
    return _CONTROLS.sub("", text.replace("\r\n", "\n")).expandtabs(4).strip("\n")
