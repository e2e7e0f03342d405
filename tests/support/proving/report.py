"""Outcomes as lines for people: one a case, then how many families are equal in which layout."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from proving.judge import Outcome


def row(outcome: Outcome) -> str:
    """One outcome on one line."""
    amount = f"{outcome.error:.1e}" if outcome.error is not None else ""
    return (
        f"{outcome.verdict:8} {outcome.name:44} {outcome.layout:12} {amount:8} {outcome.seconds:5.1f} s  "
        f"{outcome.words[:220]}"
    )


def counts(outcomes: Iterable[Outcome]) -> list[str]:
    """How many families are equal: in all their cases, or at least in the plain one."""
    by_layout: dict[str, dict[str, list[Outcome]]] = defaultdict(lambda: defaultdict(list))
    for outcome in outcomes:
        by_layout[outcome.layout][outcome.family].append(outcome)
    lines = []
    for layout, families in by_layout.items():
        whole = [name for name, found in families.items() if all(o.verdict == "equal" for o in found)]
        plain = [
            name
            for name, found in families.items()
            if any(o.verdict == "equal" and not o.variant for o in found)
        ]
        rest = sorted(set(families) - set(whole))
        lines.append(
            f"{layout}: {len(whole)} of {len(families)} families equal in every case, {len(plain)} in their plain one"
            + (f"; not in every case: {', '.join(rest)}" if rest else "")
        )
    both = (
        set.intersection(
            *(
                {n for n, f in families.items() if all(o.verdict == "equal" for o in f)}
                for families in by_layout.values()
            )
        )
        if by_layout
        else set()
    )
    lines.append(f"{len(both)} equal in every case and every layout")
    return lines
