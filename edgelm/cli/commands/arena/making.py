"""`edgelm arena A B` and `edgelm arena resume`: answers made ahead, then votes."""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import TYPE_CHECKING

from edgelm.cli.show.output import print_json, say, warn
from edgelm.cli.show.progress_bars import progress_bars
from edgelm.units import count

if TYPE_CHECKING:
    from edgelm.arena.arena import Arena


def begin(arguments: argparse.Namespace) -> None:
    """Begin an arena, answer it, and vote where there is a terminal."""
    from edgelm.api import find_model
    from edgelm.arena.arena import Arena

    with progress_bars() as on_progress:
        arena = Arena.create(
            arguments.contestants,
            arguments.prompts,
            find=lambda text: find_model(text, on_progress),
            name=arguments.name,
            seed=arguments.seed,
            max_tokens=arguments.max_tokens,
        )
    with arena:
        say(
            f"arena {shlex.quote(arena.name)}; edgelm arena resume {shlex.quote(arena.name)} goes on if this is ended"
        )
        _answer(arena, arguments)
        if sys.stdin.isatty() and sys.stdout.isatty() and not (arguments.no_vote or arguments.json):
            from edgelm.cli.commands.arena.voting import vote_on

            vote_on(arena, reveal=arguments.reveal)
            return
        _tell(arena, arguments)


def go_on(arguments: argparse.Namespace) -> None:
    """Make the answers that are missing."""
    from edgelm.arena.arena import Arena

    with Arena.open(arguments.name) as arena:
        _answer(arena, arguments)
        _tell(arena, arguments)


def _answer(arena: Arena, arguments: argparse.Namespace) -> None:
    from edgelm.api import find_model, load

    with progress_bars() as on_progress:
        failed = arena.answer(
            lambda text: find_model(text, on_progress), load, on_progress, rows=arguments.rows
        )
    for each in failed[:3]:
        # Which contestant it was would tell who is missing, not which side anybody is on.
        warn(f"{each.contestant} could not answer a prompt: {each.error.message}")
    if failed:
        say(f"{count(len(failed), 'answer', 'answers')} missing; their matches are left out")


def _tell(arena: Arena, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print_json({"arena": arena.name, "contestants": [each.name for each in arena.contestants]})
    else:
        print(f"arena {arena.name} is ready: edgelm arena vote {arena.name}")
