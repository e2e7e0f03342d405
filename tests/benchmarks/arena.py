"""The time from a key to the next match of an arena, with 2,000 matches stored: `python tests/benchmarks/arena.py`.

What is timed is what the terminal and the app do between two screens: `Ballot.vote`, which is on the disk when it returns, and
`Ballot.next`. Two contestants, and five, whose pairs are chosen by what a vote tells. The bar is 50 ms at the 95th percentile.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

BAR_MS = 50.0
VOTES = 300


def measure(home: Path, contestants: int, prompts: int) -> float:
    """Print the percentiles of one arena; returns the 95th, in milliseconds."""
    from arena_answers import make_arena

    names = [f"model-{'x' * at}" for at in range(contestants)]
    with make_arena(home, prompts=prompts, models=names, name=f"of-{contestants}") as arena:
        ballot = arena.ballot()
        rng = random.Random(0)
        match = ballot.next()
        times = []
        while match is not None and len(times) < VOTES:
            began = time.perf_counter()
            ballot.vote(match.id, rng.choice(("first", "second", "tie")))
            match = ballot.next()
            times.append(1000 * (time.perf_counter() - began))
    p50, p95 = statistics.median(times), statistics.quantiles(times, n=20)[-1]
    total = ballot.progress.total
    print(
        f"{contestants} contestants, {total} matches: p50 {p50:.1f} ms, p95 {p95:.1f} ms (bar {BAR_MS:.0f} ms)"
    )
    return p95


def main() -> int:
    """Measure both; returns 1 where the bar is missed."""
    with tempfile.TemporaryDirectory() as place:
        os.environ["EDGELM_HOME"] = place
        worst = max(measure(Path(place), 2, 1905), measure(Path(place), 5, 191))
    return int(worst > BAR_MS)


if __name__ == "__main__":
    sys.exit(main())
