"""`edgelm arena report`: ratings with intervals, a verdict for each pair, and what the votes themselves are worth."""

from __future__ import annotations

import argparse
import math
import shlex
from typing import TYPE_CHECKING, Any

from edgelm.cli.parsing.actions import check_file
from edgelm.cli.show.output import console, print_json, say
from edgelm.errors import OptionError
from edgelm.units import count, format_seconds

if TYPE_CHECKING:
    from edgelm.arena.ratings.standings import PairStanding, RatingEntry, Standings
    from edgelm.arena.tally import Tallied


def report(arguments: argparse.Namespace) -> None:
    """Say what the votes on an arena tell."""
    from edgelm.arena.arena import Arena
    from edgelm.arena.records import PERSON

    check_file(arguments.svg, arguments)
    with Arena.open(arguments.name) as arena:
        voter = arguments.by or PERSON
        voters = arena.voters()
        if arguments.by and arguments.by not in voters:
            raise OptionError(
                f"{arguments.by} has not voted on {arena.name}",
                hint=f"edgelm arena judge {shlex.quote(arena.name)} --by {shlex.quote(arguments.by)}",
            )
        tallied = arena.tally(voter)
        standings = arena.standings(voter, covariates=tuple(dict.fromkeys(arguments.control)))
        others = {each: arena.agreement(each, voter) for each in voters if each != voter}
    if arguments.json:
        agreements = {each: found.as_dict() for each, found in others.items()}
        said = {"arena": arena.name, "voter": voter, **standings.as_dict(), **tallied.as_dict()}
        print_json({**said, "agreement": agreements})
    else:
        _print(arena.name, standings, tallied)
        for each, found in others.items():
            if found.pairs:
                kappa = "" if found.kappa is None else f", kappa {found.kappa:.2f}"
                print(
                    f"agreement with {each}: {found.same} of {found.pairs}{kappa}, {found.reversed} reversed"
                )
    if arguments.svg is not None:
        from edgelm.arena.ratings.plot import plot

        plot(standings, arguments.svg.expanduser())
        say(f"wrote {arguments.svg}")


def _print(name: str, standings: Standings, tallied: Tallied) -> None:
    print(f"{name}: {count(standings.votes, 'vote', 'votes')}")
    if standings.votes:
        _print_table(
            ("contestant", f"rating ({standings.confidence:.0%} interval)", "votes"),
            [row for pool in standings.pools for row in map(_entry, pool)],
        )
        if len(standings.pools) > 1:
            print("no votes link these pools, so there is no order among them: ")
            for pool in standings.pools:
                print(f"  {', '.join(entry.contestant for entry in pool)}")
    if standings.pairs:
        print()
        _print_table(
            ("pair", "wins", "losses", "ties", "both bad", "identical", "win rate", "p", "verdict"),
            [_pair(pair) for pair in standings.pairs],
        )
        for pair in standings.pairs:
            if pair.more_votes is not None:
                more = count(pair.more_votes, "more vote", "more votes")
                print(f"about {more} would tell {pair.contestant} from {pair.rival} at the rate seen")
    for effect in standings.effects:
        print(f"{effect.name}: {effect.value:+.2f} nats ({effect.low:+.2f} to {effect.high:+.2f})")
    for line in _of_votes(tallied):
        print(line)


def _of_votes(tallied: Tallied) -> list[str]:
    lines = []
    same = tallied.consistency
    if same.pairs:
        lines.append(
            f"judged twice, sides changed: {same.same} of {same.pairs} alike, {same.reversed} reversed"
        )
    if tallied.skipped:
        lines.append(f"skipped: {tallied.skipped}")
    if tallied.self_named:
        lines.append(f"votes on answers that say who wrote them: {tallied.self_named}")
    if tallied.median_s is not None:
        lines.append(f"median time of a vote: {format_seconds(tallied.median_s)}")
    return lines


def _entry(entry: RatingEntry) -> tuple[str, ...]:
    if math.isinf(entry.low):
        return entry.contestant, "not known", str(entry.votes)
    bound = ", one end is the prior's" if entry.one_sided else ""
    return (
        entry.contestant,
        f"{entry.rating:.0f} ({entry.low:.0f} to {entry.high:.0f}{bound})",
        str(entry.votes),
    )


def _pair(pair: PairStanding) -> tuple[str, ...]:
    tally = pair.tally
    rate = "–" if pair.win_rate is None else f"{pair.win_rate:.0%} ({pair.low:.0%} to {pair.high:.0%})"
    return (
        f"{pair.contestant} : {pair.rival}",
        str(tally.wins),
        str(tally.losses),
        str(tally.ties),
        str(tally.both_bad),
        str(tally.identical),
        rate,
        f"{pair.p_value:.3f}",
        pair.verdict,
    )


def _print_table(heading: tuple[str, ...], rows: list[Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in heading:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console().print(table)
