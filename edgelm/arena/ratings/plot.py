"""A picture of standings: a point and its interval for each contestant, pools apart."""

from __future__ import annotations

import math
from pathlib import Path

from edgelm.arena.ratings.standings import RatingEntry, Standings
from edgelm.charts import chart


def plot(standings: Standings, path: Path) -> None:
    """Draw `standings` to `path` (.svg, .png).

    Raises:
        OptionError: `path` ends otherwise.
        OutputError: it cannot be written.
    """
    rows: list[RatingEntry | None] = []
    for pool in standings.pools:
        rows += [None, *pool] if rows else [*pool]
    title = f"Ratings from {standings.votes} votes, {standings.confidence:.0%} intervals"
    with chart(path, title=title, x="rating", y="", height_in=1.2 + 0.35 * len(rows)) as axes:
        for at, entry in enumerate(rows):
            if entry is None:
                axes.axhline(at, color="#888888", linewidth=0.6, linestyle=":")
                continue
            if math.isfinite(entry.low) and math.isfinite(entry.high):
                axes.plot([entry.low, entry.high], [at, at], color="#4477aa", linewidth=2)
            axes.plot(
                [entry.rating], [at], "o", color="#4477aa", fillstyle="none" if entry.one_sided else "full"
            )
        shown = [(at, entry.contestant) for at, entry in enumerate(rows) if entry is not None]
        axes.set_yticks([at for at, _ in shown], [name for _, name in shown])
        axes.invert_yaxis()
