"""A command of the chat loop: what it is for, and what it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgelm.cli.chat.loop import Repl


@dataclass(frozen=True, slots=True)
class Command:
    """`run(repl, rest)` does it; `rest` is what stands behind the name."""

    help: str
    run: Callable[[Repl, str], None]
