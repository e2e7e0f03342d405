"""Hold every architecture that transformers and mlx-lm both have against torch, and write down what came out.

    python tests/architectures/prove.py                         # all of it: 10 to 40 minutes on two cores
    python tests/architectures/prove.py --only llama,qwen3_moe  # some families
    python tests/architectures/prove.py --write                 # and write the table that ships, and docs/architectures.md

A case is a tiny network of transformers with seeded weights under which every tensor shows, in float32. It is written as
transformers 5 saves it and as the Hub published such models, converted by edgelm, and fed 90 tokens beyond windows of 16:
whole, token by token, and in chunks. Equal is a largest difference of logits below 1e-4 of the largest logit.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
for folder in (ROOT, ROOT / "converters", ROOT / "tui", ROOT / "tests" / "support"):
    sys.path.insert(0, str(folder))
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

from proving.cases import all_cases  # noqa: E402 - needs the paths above
from proving.layouts import LAYOUTS  # noqa: E402
from proving.report import counts, row  # noqa: E402
from proving.table import write_table  # noqa: E402
from proving.workers import proved  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only",
        default="",
        metavar="FAMILIES",
        help="names, separated by commas; part of a name will do with *",
    )
    parser.add_argument("--layout", choices=LAYOUTS, help="one layout (default: both)")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    parser.add_argument(
        "--write", action="store_true", help="write the table and the page of all families that were run"
    )
    parser.add_argument("--list", action="store_true", help="only name the cases")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the errors of equal cases too")
    arguments = parser.parse_args()
    cases = _chosen(arguments.only)
    if arguments.list:
        print("\n".join(case.name for case in cases))
        return 0
    layouts = (arguments.layout,) if arguments.layout else LAYOUTS
    started, outcomes = time.monotonic(), []
    for outcome in proved(cases, layouts, workers=arguments.workers):
        outcomes.append(outcome)
        if arguments.verbose or outcome.verdict != "equal" or sys.stdout.isatty():
            print(row(outcome), flush=True)
    print("\n".join(counts(outcomes)))
    print(f"{len(cases)} cases, {Counter(o.verdict for o in outcomes)}, {time.monotonic() - started:.0f} s")
    if arguments.write:
        write_table(outcomes, ROOT)
    return 0 if all(outcome.verdict != "failed" for outcome in outcomes) else 1


def _chosen(only: str) -> list:
    from fnmatch import fnmatch

    wanted = [name for name in only.split(",") if name]
    return [
        c
        for c in all_cases()
        if not wanted or any(fnmatch(c.family, w) or fnmatch(c.name, w) for w in wanted)
    ]


if __name__ == "__main__":
    sys.exit(main())
