"""Blind comparisons from Python: `edgelm.arena("base", "base,adapter=poems", prompts="writing")`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgelm.api import find_model, load
from edgelm.arena.arena import MAX_TOKENS, Arena
from edgelm.arena.contestants import Contestant
from edgelm.options import check_callable
from edgelm.progress import OnProgress, ignore_progress


def arena(
    *contestants: Contestant | str,
    prompts: str | Path | Iterable[str | Sequence[Mapping[str, Any]]],
    name: str | None = None,
    seed: int = 0,
    max_tokens: int = MAX_TOKENS,
    rows: int | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Arena:
    """Have contestants answer prompts and return the arena, ready for votes: `arena.ballot()`, then `arena.standings()`.

    What was answered before under the same hashes is not answered again. `edgelm arena resume` goes on with one that was ended.

    Args:
        contestants: two or more: `Contestant`, or text as on the command line, `NAME=MODEL,adapter=…,temp=…,system=FILE`.
        prompts: "writing", "code", "maths", "chat", "chats" (one's own), a file, or the prompts themselves.
        name: of the arena; the default is made of its contestants'.
        seed: of answers, sides and order.
        max_tokens: of an answer, where its contestant says nothing else.
        rows: answers made at once; None is what the machine can take.
        on_progress: called while answers are made.

    Raises:
        OptionError: fewer than two contestants, no prompts, a setting out of bounds, or a name that is taken.
        EdgeLMError: about a model, an adapter or the prompts.
    """
    check_callable("on_progress", on_progress)

    def find(text: str) -> Path:
        return find_model(text, on_progress)

    begun = Arena.create(contestants, prompts, find=find, name=name, seed=seed, max_tokens=max_tokens)
    try:
        begun.answer(find, load, on_progress, rows=rows)
    except BaseException:
        begun.close()
        raise
    return begun
