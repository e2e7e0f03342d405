"""One arena: its answers, its ballots, what the votes say and what they teach."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from edgelm.arena.answering.ahead import Load, Unanswered, answer_all
from edgelm.arena.answering.origin import Entrant, Find
from edgelm.arena.arena_store import ArenaStore
from edgelm.arena.ballot import Ballot
from edgelm.arena.contestants import Contestant, contestants_of
from edgelm.arena.matching import matches_of
from edgelm.arena.prompts.prompts import read_prompts
from edgelm.arena.records import PERSON, RoundHead
from edgelm.arena.training import Kind, TrainingRows, training_rows
from edgelm.errors import OptionError
from edgelm.options import check_type
from edgelm.progress import OnProgress, ignore_progress

if TYPE_CHECKING:
    from edgelm.arena.ratings.consistency import Agreement
    from edgelm.arena.ratings.standings import Standings
    from edgelm.arena.tally import Tallied
    from edgelm.judges.judge import Judge, JudgeRecord

MAX_TOKENS = 512
"""The most tokens of an answer where nobody says otherwise: two of them are read for each vote."""


class Arena:
    """An arena in the store. Close it, or use it in a `with` block.

    Attributes:
        head: its name, seed and the tokens of its answers.
    """

    def __init__(self, store: ArenaStore, head: RoundHead) -> None:
        self._store = store
        self.head = head

    @classmethod
    def create(
        cls,
        contestants: Sequence[Contestant | str],
        prompts: str | Path | Iterable[str | Sequence[Mapping[str, Any]]],
        *,
        find: Find,
        name: str | None = None,
        seed: int = 0,
        max_tokens: int = MAX_TOKENS,
        database: Path | None = None,
    ) -> Self:
        """Begin an arena; nothing is answered yet. Models and adapters are found first, and nothing is kept if one is not.

        Raises:
            OptionError: fewer than two contestants, no prompts, a setting out of bounds, or a name that is taken.
            NotFoundError, FormatError, UnsupportedError, NetworkError: about a model, an adapter or the prompts.
        """
        check_type("seed", seed, int)
        check_type("max_tokens", max_tokens, int)
        if max_tokens < 1:
            raise OptionError(f"max_tokens is {max_tokens}, expected 1 or more")
        found = contestants_of(contestants)
        asked = read_prompts(prompts)
        for each in found:
            Entrant.of(each, find).options(seed=seed, max_tokens=max_tokens)
        store = ArenaStore(database)
        try:
            named = _free_name(store, found) if name is None else _checked(name)
            return cls(store, store.create(named, found, asked, seed=seed, max_tokens=max_tokens))
        except BaseException:
            store.close()
            raise

    @classmethod
    def open(cls, name: str | None = None, *, database: Path | None = None) -> Self:
        """Open the arena of a name; None is the latest.

        Raises:
            NotFoundError: there is none.
        """
        store = ArenaStore(database)
        try:
            return cls(store, store.find(name))
        except BaseException:
            store.close()
            raise

    @property
    def name(self) -> str:
        """What the arena is called."""
        return self.head.name

    @property
    def contestants(self) -> list[Contestant]:
        """Who takes part, by name, also those whose models are gone."""
        return [each.contestant for each in self._store.contestants(self.head)]

    @property
    def is_laid_out(self) -> bool:
        """Whether the matches are made, so that it can be voted on."""
        return bool(self._store.matches(self.head))

    def answer(
        self, find: Find, load: Load, on_progress: OnProgress = ignore_progress, *, rows: int | None = None
    ) -> list[Unanswered]:
        """Make the answers that are missing and then the matches; goes on where it was ended.

        Returns:
            What could not be answered, and is in no match.

        Raises:
            EdgeLMError: about a model or an adapter that still has to answer; or nothing could be answered by two contestants.
        """
        if self.is_laid_out:
            return []
        failed = answer_all(self._store, self.head, find, load, on_progress, rows=rows)
        slots = self._store.slots(self.head)
        texts = self._store.answers({slot.answer for slot in slots})
        names = [each.name for each in self.contestants]
        matches = matches_of(self.head, names, slots, texts)
        if not matches:
            raise (
                failed[0].error
                if failed
                else OptionError(f"arena {self.name} has no two answers to a prompt")
            )
        self._store.lay_out(self.head, matches)
        return failed

    def ballot(self, voter: str = PERSON) -> Ballot:
        """Begin to vote, or go on.

        Raises:
            OptionError: not everything is answered yet.
        """
        if not self.is_laid_out:
            raise OptionError(
                f"arena {self.name} is not answered yet",
                hint=f"edgelm arena resume {shlex.quote(self.name)} goes on",
            )
        return Ballot(self._store, self.head, voter)

    def tally(self, voter: str = PERSON) -> Tallied:
        """Read the votes of one voter, and what else a report says of them."""
        from edgelm.arena.tally import tally

        return tally(self._store, self.head, voter)

    def standings(self, voter: str = PERSON, *, covariates: Sequence[str] = ()) -> Standings:
        """Say what the votes of one voter tell; `covariates` of "length" and "markdown" are held level."""
        from edgelm.arena.ratings.standings import rate

        tallied = self.tally(voter)
        return rate(
            tallied.votes,
            tallied.contestants,
            covariates=covariates,
            planned=tallied.planned if len(tallied.contestants) == 2 else None,
            seed=self.head.seed,
        )

    def judge(self, judge: Judge, on_progress: OnProgress = ignore_progress) -> JudgeRecord:
        """Have a judge vote on what it has not voted on yet; its votes are those of the voter `judge.name`.

        Raises:
            OptionError: not everything is answered yet.
            EdgeLMError: it cannot judge; votes so far stay.
        """
        from edgelm.arena.judging import judge_all

        return judge_all(self.ballot(judge.name), judge, on_progress)

    def voters(self) -> list[str]:
        """List who has voted: judges by name, and "person"."""
        return list(dict.fromkeys(cast.voter for cast in self._store.votes(self.head)))

    def agreement(self, voter: str, other: str = PERSON) -> Agreement:
        """Compare the votes of two voters on the matches that both judged."""
        from edgelm.arena.ratings.consistency import agreement
        from edgelm.arena.ratings.votes import Outcome

        one, two = (
            {
                cast.match: Outcome(cast.outcome)
                for cast in self._store.votes(self.head, voter=each)
                if cast.outcome != "skip"
            }
            for each in (voter, other)
        )
        return agreement([(one[match], two[match]) for match in one if match in two])

    def training_rows(
        self,
        kind: Kind = "preferences",
        *,
        voter: str = PERSON,
        validation: float = 0.0,
        besides: Iterable[dict[str, Any]] = (),
    ) -> TrainingRows:
        """Make rows to train on of the votes, see `edgelm.arena.training`."""
        return training_rows(
            self._store,
            [self.head],
            kind,
            voter=voter,
            validation=validation,
            seed=self.head.seed,
            besides=besides,
        )

    def remove(self) -> None:
        """Delete the arena with its votes."""
        self._store.remove(self.head)

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def arenas(database: Path | None = None) -> list[RoundHead]:
    """List all arenas, the latest first."""
    with ArenaStore(database) as store:
        return store.rounds()


def _checked(name: str) -> str:
    """A name that can be said on a command line and printed."""
    check_type("name", name, str)
    if not name.isprintable() or not name.strip() or name.startswith("-") or len(name) > 100:
        raise OptionError(f"name is {name!r}, expected up to 100 letters, digits and signs, no dash first")
    return name


def _free_name(store: ArenaStore, contestants: Sequence[Contestant]) -> str:
    """A name made of the contestants', with a number where it is taken."""
    plain = "-vs-".join(
        "".join(c if c.isalnum() or c in "._+-" else "-" for c in each.name) for each in contestants
    )
    plain = plain.lstrip("._+-")[:80] or "arena"
    taken = {head.name for head in store.rounds()}
    return next(
        name
        for at in range(1, len(taken) + 2)
        if (name := plain if at == 1 else f"{plain}-{at}") not in taken
    )
