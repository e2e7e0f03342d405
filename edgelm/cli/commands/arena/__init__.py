"""`edgelm arena`: blind votes on the answers of models, adapters and settings, and what they say."""

from __future__ import annotations

import argparse
from pathlib import Path

from edgelm.cli.commands.arena.judging import judge
from edgelm.cli.commands.arena.keeping import export, list_arenas, remove
from edgelm.cli.commands.arena.making import begin, go_on
from edgelm.cli.commands.arena.report import report
from edgelm.cli.commands.arena.voting import vote
from edgelm.cli.parsing.actions import add_action, add_force, add_json
from edgelm.cli.parsing.confirm import add_yes
from edgelm.cli.parsing.parser import Parser

EXAMPLES = (
    "edgelm arena smollm2-135m-instruct-4bit smollm2-135m-instruct-8bit --prompts writing",
    "edgelm arena base=MODEL tuned=MODEL,adapter=poems --prompts my-prompts.txt --name poems",
    "edgelm arena vote poems",
    "edgelm arena judge poems --by model:qwen3-4b-4bit",
    "edgelm arena report poems",
)
_NAME = "its name in the list (default: the latest)"
_SETS = "writing, code, maths, chat, chats (your own), or a file: a line of text each, or JSON lines"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions; contestants without one begin an arena."""
    add_json(parser)
    parser.set_defaults(action=list_arenas)
    actions = parser.add_subparsers(metavar="ACTION")
    if isinstance(parser, Parser):
        parser.action_unsaid = "new"
    new = add_action(
        actions, "new", "have contestants answer prompts, then vote (new may be left out)", begin
    )
    new.add_argument(
        "contestants",
        nargs="+",
        metavar="CONTESTANT",
        help="[NAME=]MODEL[,adapter=…][,temp=…][,system=FILE]…; two or more",
    )
    new.add_argument("--prompts", required=True, metavar="SET|FILE", help=_SETS)
    new.add_argument("--name", metavar="NAME", help="of the arena (default: made of the contestants')")
    new.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of answers, sides and order (default 0)"
    )
    new.add_argument("--max-tokens", type=int, default=512, metavar="N", help="of an answer (default 512)")
    new.add_argument("--no-vote", action="store_true", help="answer only; edgelm arena vote goes on")
    _add_making(new)
    resume = add_action(actions, "resume", "make the answers that are missing", go_on)
    resume.add_argument("name", nargs="?", metavar="NAME", help=_NAME)
    _add_rows(resume)
    voting = add_action(actions, "vote", "vote, or go on voting", vote)
    voting.add_argument("name", nargs="?", metavar="NAME", help=_NAME)
    _add_voting(voting)
    judging = add_action(actions, "judge", "have a model, a reward or chance vote, apart from you", judge)
    judging.add_argument("name", nargs="?", metavar="NAME", help=_NAME)
    _add_by(judging, "who judges", required=True)
    judging.add_argument(
        "--rubric", type=Path, metavar="FILE", help="what a model is told to judge by (default: edgelm's own)"
    )
    said = add_action(actions, "report", "say what the votes tell, with intervals", report)
    said.add_argument("name", nargs="?", metavar="NAME", help=_NAME)
    said.add_argument(
        "--control",
        action="append",
        default=[],
        choices=("length", "markdown"),
        help="hold it level between answers; may be given twice",
    )
    _add_by(said, "whose votes (default: yours)")
    said.add_argument("--svg", type=Path, metavar="FILE", help="draw ratings and intervals to a new .svg")
    add_force(said)
    add_action(actions, "list", "list the arenas, the latest first", list_arenas, aliases=("ls",))
    out = add_action(actions, "export", "write the votes as rows for edgelm tune --loss dpo or kto", export)
    out.add_argument("name", nargs="?", metavar="NAME", help=_NAME)
    out.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="a new file of JSON lines"
    )
    out.add_argument(
        "--kind",
        choices=("preferences", "labels"),
        default="preferences",
        help="pairs (dpo and its kin), or verdicts (kto); default preferences",
    )
    out.add_argument(
        "--validation",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="put the rows of this share of the prompts into FILE's neighbour in .valid",
    )
    _add_by(out, "whose votes (default: yours)")
    out.add_argument("--chats", action="store_true", help="with the ratings and corrections of saved chats")
    removing = add_action(actions, "remove", "delete one with its votes", remove, aliases=("rm", "delete"))
    removing.add_argument("name", metavar="NAME", help="its name in the list")
    add_yes(removing)


def _add_by(parser: argparse.ArgumentParser, what: str, *, required: bool = False) -> None:
    parser.add_argument(
        "--by",
        required=required,
        metavar="JUDGE",
        help=f"{what}: model:NAME, reward:REWARD (as edgelm tune takes it) or random:SEED",
    )


def _add_making(parser: argparse.ArgumentParser) -> None:
    _add_rows(parser)
    _add_voting(parser)


def _add_rows(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rows", type=int, metavar="N", help="answers made at once (default: what memory allows)"
    )


def _add_voting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reveal", action="store_true", help="say after each vote who wrote what")


def run(arguments: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        EdgeLMError: about contestants, prompts, the arena's name, or a file.
    """
    arguments.action(arguments)
