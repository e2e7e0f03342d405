"""`edgelm arena judge`: a model, a reward or chance votes on what people vote on, apart from them."""

from __future__ import annotations

import argparse
import shlex

from edgelm.cli.parsing.texts import read_text
from edgelm.cli.show.output import print_json, say, warn
from edgelm.cli.show.progress_bars import progress_bars
from edgelm.units import count


def judge(arguments: argparse.Namespace) -> None:
    """Have a judge vote on every match that it has not voted on."""
    from contextlib import closing

    from edgelm.api import load
    from edgelm.arena.arena import Arena
    from edgelm.judges.registry import read_judge
    from edgelm.tune.reward_model.named import read_all_rewards

    rubric = None if arguments.rubric is None else read_text(arguments.rubric)
    with Arena.open(arguments.name) as arena, progress_bars() as on_progress:
        arena.ballot()  # refuses one that is not answered before a model is loaded
        with closing(
            read_judge(arguments.by, load=load, read_rewards=read_all_rewards, rubric=rubric)
        ) as judge:
            record = arena.judge(judge, on_progress)
    if arguments.json:
        print_json(
            {
                "arena": arena.name,
                "judge": judge.name,
                "judged": record.pairs,
                "unreadable": record.unreadable,
                "flips": record.flips,
                "flip_rate": record.flip_rate,
            }
        )
        return
    say(f"{judge.name} judged {count(record.pairs, 'match', 'matches')}")
    if record.flip_rate is not None:
        say(f"the other order changed {record.flip_rate:.0%} of its verdicts, which count as ties")
    if record.unreadable:
        warn(f"{record.unreadable} verdicts could not be read and count for nobody")
    say(
        f"edgelm arena report {shlex.quote(arena.name)} --by {shlex.quote(judge.name)} says what its votes tell"
    )
