"""The flags of `edgelm tune`, by what they are about, and the request that they make."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelm.cli.parsing.actions import add_force
from edgelm.cli.parsing.model_flags import add_model, found_model
from edgelm.errors import OptionError

if TYPE_CHECKING:
    from edgelm.tune.request import TuneRequest

_UNITS = {"s": 1, "m": 60, "h": 3600}
_OWN = ("for_s", "pause_on")
"""Settings of the loop that are written in another way on the command line."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    from edgelm.tune.objectives.settings import ObjectiveSettings
    from edgelm.tune.settings import OptimizerSettings

    add_model(parser, nargs="?")
    _add_data(parser.add_argument_group("data"))
    _add_method(parser.add_argument_group("what is trained"))
    how = parser.add_argument_group("how")
    ObjectiveSettings.add_flags(how)
    OptimizerSettings.add_flags(how)
    _add_rollouts(parser.add_argument_group("answers that are drawn and rewarded (--loss grpo)"))
    _add_loop(parser.add_argument_group("for how long, in what batches"))
    _add_run(parser.add_argument_group("the run and its result"))
    _add_watching(parser.add_argument_group("watching"))


def _add_data(group: Any) -> None:
    from edgelm.tune.data.settings import DataSettings

    group.add_argument(
        "--data",
        metavar="FILE",
        help="examples: JSONL, JSON, CSV, Parquet, text, or a directory of train and valid",
    )
    group.add_argument("--validation", metavar="FILE", help="examples to measure on")
    group.add_argument(
        "--hold-out", type=float, metavar="SHARE",
        help="without them, the share of prompts kept apart (default 0.05)",
    )  # fmt: skip
    DataSettings.add_flags(group)


def _add_method(group: Any) -> None:
    from edgelm.tune.settings import MethodSettings

    MethodSettings.add_flags(group, only=("method", "rank", "alpha", "dropout", "layers"))
    group.add_argument(
        "--targets", metavar="A,B",
        help="linear, attention, mlp, embeddings, head, or patterns as *.q_proj (default linear)",
    )  # fmt: skip
    group.add_argument(
        "--rank-of",
        action="append",
        default=[],
        metavar="PATTERN=RANK",
        help="another rank for some (repeatable)",
    )


def _add_rollouts(group: Any) -> None:
    from edgelm.tune.settings import RolloutSettings

    group.add_argument(
        "--reward", action="append", metavar="REWARD",
        help="what answers are worth, as exact:final, 0.2*length:10-60, model:NAME, FILE.py:name (repeatable; docs/rewards.md)",
    )  # fmt: skip
    RolloutSettings.add_flags(group)


def _add_loop(group: Any) -> None:
    from edgelm.tune.settings import LoopSettings

    group.add_argument("--for", dest="for_time", metavar="TIME", help="train for so long: 3h, 45m, 90s")
    LoopSettings.add_flags(
        group, only=[name for name in LoopSettings.__dataclass_fields__ if name not in _OWN]
    )
    group.add_argument(
        "--pause-on",
        metavar="WHAT",
        help="battery, heat and pressure, with commas between: wait while it lasts",
    )


def _add_run(group: Any) -> None:
    group.add_argument("--name", help="of the run and its adapter (default: time, model and method)")
    group.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="the directory to make of the adapter (default: one in the library, of the run's name)",
    )
    group.add_argument(
        "--resume", nargs="?", const="", metavar="RUN",
        help="go on with a run from its last checkpoint (default: the newest run)",
    )  # fmt: skip
    group.add_argument("--no-fit-check", action="store_true", help="load even if it would not fit in memory")


def _add_watching(group: Any) -> None:
    group.add_argument(
        "--prompt",
        action="append",
        default=[],
        metavar="TEXT",
        help="answer this at each validation (repeatable)",
    )
    group.add_argument(
        "--answer-tokens", type=int, metavar="N", help="tokens of those answers (default 48; 0 for none)"
    )
    group.add_argument("--plot", type=Path, metavar="FILE", help="draw the losses as .svg or .png too")
    add_force(group)
    group.add_argument("--report-to", metavar="WHERE", help="tensorboard, wandb or trackio, where installed")
    group.add_argument("--json", action="store_true", help="print events as JSON lines on stdout")


def make_request(arguments: argparse.Namespace) -> TuneRequest:
    """Turn flags into what they ask for.

    Raises:
        OptionError, NotFoundError: a flag, or the model.
    """
    from edgelm.cli.parsing.flags import refuse_together
    from edgelm.tune.data.settings import DataSettings
    from edgelm.tune.request import TuneRequest
    from edgelm.tune.settings import TuneSettings

    if arguments.method == "full":
        refuse_together(
            arguments, "--method full, which trains no adapter", "rank", "alpha", "dropout", "rank_of"
        )
    if arguments.validation is not None:
        refuse_together(arguments, "--validation, which holds the examples to measure on", "hold_out")
    said = {name: value for name, value in vars(arguments).items() if name in TuneSettings().flat()}
    settings = TuneSettings.build(**{**said, **_parsed(arguments)})
    given = {"hold_out": arguments.hold_out, "answer_tokens": arguments.answer_tokens}
    return TuneRequest(
        model=found_model(arguments.model),
        data=arguments.data,
        validation=arguments.validation,
        settings=settings,
        data_settings=DataSettings.from_flags(arguments),
        prompts=tuple(arguments.prompt),
        name=arguments.name,
        output=arguments.output,
        check_fit=not arguments.no_fit_check,
        **{name: value for name, value in given.items() if value is not None},
    )


def _parsed(arguments: argparse.Namespace) -> dict[str, Any]:
    """Settings whose flags are not of a plain type."""
    return {
        "for_s": None if arguments.for_time is None else parse_time(arguments.for_time),
        "pause_on": _parts(arguments.pause_on),
        "targets": _parts(arguments.targets),
        "ranks": tuple(map(_rank_of, arguments.rank_of)),
        "reward": tuple(arguments.reward) if arguments.reward else None,
    }


def _parts(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


def _rank_of(text: str) -> tuple[str, int]:
    pattern, _, rank = text.rpartition("=")
    if not pattern or not rank.isdecimal():
        raise OptionError(f"--rank-of is {text!r}, expected PATTERN=RANK, as in *.down_proj=16")
    return pattern, int(rank)


def parse_time(text: str) -> float:
    """Read `3h`, `45m`, `90s`, `1h30m` as seconds.

    Raises:
        OptionError: anything else.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise OptionError(f"the time is {text!r}, expected something like 3h, 45m or 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
