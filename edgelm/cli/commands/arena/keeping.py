"""`edgelm arena list`, `export` and `remove`."""

from __future__ import annotations

import argparse
import json
import shlex
from datetime import datetime
from typing import Any

from edgelm.cli.parsing.confirm import confirmed
from edgelm.cli.show.output import console, print_json, say
from edgelm.errors import OptionError
from edgelm.units import count


def list_arenas(arguments: argparse.Namespace) -> None:
    """List the arenas, the latest first."""
    from edgelm.arena.arena import Arena, arenas

    found = []
    for head in arenas():
        with Arena.open(head.name) as arena:
            names = [each.name for each in arena.contestants]
            progress = arena.ballot().progress if arena.is_laid_out else None
        votes, matches = (progress.done, progress.total) if progress else (0, None)
        found.append(
            {
                "name": head.name,
                "contestants": names,
                "votes": votes,
                "matches": matches,
                "created": head.created,
            }
        )
    if arguments.json:
        print_json(found)
        return
    if not found:
        say("no arena yet: edgelm arena MODEL MODEL --prompts writing begins one")
        return
    _print(found)


def _print(found: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("name", "contestants", "votes", "begun"):
        table.add_column(name, overflow="fold")
    for each in found:
        votes = "not answered yet" if each["matches"] is None else f"{each['votes']} of {each['matches']}"
        begun = f"{datetime.fromtimestamp(each['created']).astimezone():%Y-%m-%d %H:%M}"
        table.add_row(*map(Text, (each["name"], ", ".join(each["contestants"]), votes, begun)))
    console().print(table)


def export(arguments: argparse.Namespace) -> None:
    """Write the votes of an arena as rows to train on."""
    from edgelm.arena.arena import Arena
    from edgelm.arena.records import PERSON
    from edgelm.atomic import atomic_write, refuse_existing

    output = arguments.output.expanduser()
    held_out = output.with_name(f"{output.stem}.valid{output.suffix}")
    files = [output, *([held_out] if arguments.validation else [])]
    for file in files:
        refuse_existing(file)
    besides = _of_chats(arguments.kind) if arguments.chats else []
    with Arena.open(arguments.name) as arena:
        made = arena.training_rows(
            arguments.kind, voter=arguments.by or PERSON, validation=arguments.validation, besides=besides
        )
    if not made.training:
        raise OptionError(
            f"the votes on {arena.name} give no {arguments.kind} rows",
            hint=f"edgelm arena vote {shlex.quote(arena.name)}",
        )
    for file, rows in zip(files, (made.training, made.validation), strict=False):
        atomic_write(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    if arguments.json:
        print_json({"files": files, **made.counts})
        return
    _say(made.counts)
    for file in files:
        print(file)


def _say(counts: dict[str, Any]) -> None:
    say(f"{count(counts['training'], 'row', 'rows')} to train on, {counts['validation']} to validate on")
    for name, what in (
        ("contradictory", "left out, as their verdicts contradict each other"),
        ("duplicates", "left out, as they were there already"),
        ("different_prompts", "left out, as their answers were made under different system prompts"),
        ("silent", "votes that say nothing here (ties, skips, in pairs both bad)"),
    ):
        if counts[name]:
            say(f"{counts[name]} {what}")
    if counts["length_ratio"] is not None:
        say(f"the chosen answer is {counts['length_ratio']:.2f} times as long as the rejected")


def _of_chats(kind: str) -> list[dict[str, Any]]:
    from edgelm.store.chats import Chats
    from edgelm.store.feedback import label_rows, preference_rows

    with Chats() as chats:
        return preference_rows(chats) if kind == "preferences" else label_rows(chats)


def remove(arguments: argparse.Namespace) -> None:
    """Delete an arena with its votes."""
    from edgelm.arena.arena import Arena

    with Arena.open(arguments.name) as arena:
        if not confirmed(f"Remove {arena.name} and its votes?", yes=arguments.yes):
            say("nothing was removed")
            return
        arena.remove()
    print_json({"removed": arena.name}) if arguments.json else print(f"removed {arena.name}")
