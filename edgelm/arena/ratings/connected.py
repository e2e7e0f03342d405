"""Who can be compared with whom: ratings of contestants that no chain of votes links mean nothing beside each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgelm.arena.ratings.votes import Outcome, Vote


def pools(contestants: Sequence[str], votes: Iterable[Vote]) -> list[tuple[str, ...]]:
    """Return the contestants in groups that votes link, in the order they are given in."""
    links: dict[str, set[str]] = {each: set() for each in contestants}
    for vote in votes:
        links[vote.first].add(vote.second)
        links[vote.second].add(vote.first)
    return _groups(contestants, links)


def one_sided(contestants: Sequence[str], votes: Iterable[Vote]) -> list[str]:
    """Return those that won, or lost, every vote against the others of their pool.

    Without a prior their strength would be infinite (Ford 1957 asks that in every split of the pool each side has beaten the
    other once), so the end of their interval that is away from the others is the prior's doing. Votes that split a pool in two
    sides of several contestants make it so for a whole side.
    """
    beaten: dict[str, set[str]] = {each: set() for each in contestants}
    judged = list(votes)
    for vote in judged:
        if vote.outcome is not Outcome.SECOND:
            beaten[vote.first].add(vote.second)
        if vote.outcome is not Outcome.FIRST:
            beaten[vote.second].add(vote.first)
    strong = {each: _reached(each, beaten) for each in contestants}
    unbounded = []
    for pool in pools(contestants, judged):
        for each in pool:
            above = any(each not in strong[rival] for rival in pool)
            below = any(rival not in strong[each] for rival in pool)
            if above or below:
                unbounded.append(each)
    return unbounded


def _groups(contestants: Sequence[str], links: dict[str, set[str]]) -> list[tuple[str, ...]]:
    groups, placed = [], set[str]()
    for each in contestants:
        if each not in placed:
            group = _reached(each, links)
            placed |= group
            groups.append(tuple(one for one in contestants if one in group))
    return groups


def _reached(start: str, links: dict[str, set[str]]) -> set[str]:
    reached, waiting = {start}, [start]
    while waiting:
        for one in links[waiting.pop()] - reached:
            reached.add(one)
            waiting.append(one)
    return reached
