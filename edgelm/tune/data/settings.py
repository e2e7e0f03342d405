"""How data is read: what is trained of it, and what happens to rows that are too long."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Literal

from edgelm.options import Options, option


@dataclass(frozen=True)
class DataSettings(Options):
    """What `prepare` needs to know besides the files and the tokenizer."""

    max_tokens: int = option(2048, "tokens of one row at most", ge=2)
    long_rows: Literal["refuse", "truncate", "split", "drop"] = option(
        "refuse",
        "what happens to longer rows; split makes pieces of plain texts, and the others are refused",
        choices=("refuse", "truncate", "split", "drop"),
    )
    turns: Literal["all", "last", "each"] = option(
        "all",
        "answers of a chat that are trained; each makes one row of every answer, with what came before",
        choices=("all", "last", "each"),
    )
    completions: Literal["chat", "plain"] = option(
        "chat",
        "a prompt and its completion are a question and its answer in the model's template, or plain text",
        choices=("chat", "plain"),
    )
    thinking: bool | None = option(
        None, "the template's enable_thinking; the model's own default if not said"
    )

    @classmethod
    def add_data_flags(cls, parser: argparse.ArgumentParser) -> None:
        """Add a flag for each setting, and `--last-turn` for `--turns last`."""
        cls.add_flags(parser)
        parser.add_argument(
            "--last-turn", action="store_const", const="last", dest="turns", help="the same as --turns last"
        )
