"""Answers made ahead of the votes: each base loaded once, adapters acting by row, nothing made that is stored already.

Each answer is on the disk when it is whole, so a run that was ended goes on where it was. Knows no matches and no votes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from edgelm.arena.answering.origin import Entrant, Find, Origin, origin_of
from edgelm.arena.arena_store import ArenaStore
from edgelm.arena.records import ArenaPrompt, RoundHead, Standing
from edgelm.errors import EdgeLMError
from edgelm.progress import OnProgress, Progress
from edgelm.runtime.many.answering import Answering

Load = Callable[[Path], Answering]
"""Loads the model of a directory; `edgelm.load` is one."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A prompt that a contestant could not answer, and why."""

    contestant: str
    prompt: str
    error: EdgeLMError


@dataclass(frozen=True, slots=True)
class _Wanted:
    standing: Standing
    asked: ArenaPrompt
    entrant: Entrant
    origin: Origin


def answer_all(
    store: ArenaStore,
    arena: RoundHead,
    find: Find,
    load: Load,
    on_progress: OnProgress,
    *,
    rows: int | None = None,
) -> list[Unanswered]:
    """Make every answer of an arena that is missing; returns what could not be made.

    Args:
        find: called for each contestant of whom answers are missing.
        load: called once for each base of which answers are missing.
        rows: answers at once; None is what the machine can take.

    Raises:
        NotFoundError, FormatError, UnsupportedError, FitError: about a model or an adapter that still has to answer.
    """
    there = {(slot.contestant, slot.prompt) for slot in store.slots(arena)}
    prompts = store.prompts(arena)
    wanted: list[_Wanted] = []
    for standing in store.contestants(arena):
        name = standing.contestant.name
        missing = [asked for asked in prompts if (name, asked.id) not in there]
        if not missing:  # its model may be gone
            continue
        entrant = Entrant.of(standing.contestant, find)
        for asked in missing:
            origin = origin_of(entrant, asked.messages, seed=arena.seed, max_tokens=arena.max_tokens)
            wanted.append(_Wanted(standing, asked, entrant, origin))
    stored = store.answers({each.origin.key for each in wanted})
    store.fill((w.standing.id, w.asked.id, w.origin.key) for w in wanted if w.origin.key in stored)
    left = [each for each in wanted if each.origin.key not in stored]
    failed: list[Unanswered] = []
    done = 0
    for base in dict.fromkeys(each.entrant.directory for each in left):
        of_base = [each for each in left if each.entrant.directory == base]
        with closing(load(base)) as model:
            for together in _answered(store, model, of_base, rows, failed):
                done += together
                on_progress(Progress("Answering", done, len(left), "prompts"))
    return failed


def _answered(
    store: ArenaStore, model: Answering, wanted: Sequence[_Wanted], rows: int | None, failed: list[Unanswered]
) -> Iterator[int]:
    """Have one base answer, and yield how many contestants' answers each one was: those with equal keys share theirs."""
    by_key: dict[str, list[_Wanted]] = {}
    for each in wanted:
        by_key.setdefault(each.origin.key, []).append(each)
    keys = list(by_key)
    asked = [
        {"messages": list(by_key[key][0].origin.messages), **by_key[key][0].origin.settings} for key in keys
    ]
    for result in model.generate_many(asked, rows=rows):
        key = keys[result.index]
        sharing = by_key[key]
        if result.completion is None:
            failed += [
                Unanswered(w.standing.contestant.name, w.asked.id, result.error)
                for w in sharing
                if result.error is not None
            ]
        else:
            store.keep_answer(
                key, sharing[0].origin.made_from, result.completion.text, result.completion.reason
            )
            store.fill((w.standing.id, w.asked.id, key) for w in sharing)
        yield len(sharing)
