"""What votes teach, as rows to train on: pairs for DPO and its kin, verdicts for KTO.

    preferences   {"prompt": […], "chosen": […], "rejected": […], "made_under": {…}}: the better answer over the other
    labels        {"prompt": […], "completion": […], "label": true, "made_under": {…}}: the better answer good, the other bad,
                  and both bad where both are

A row's prompt is what was told to the model, its contestant's system prompt with it; a pair under two system prompts is none.
Ties and skips say nothing. Equal rows are one; verdicts that contradict each other are left out and counted. Rows are split by
prompt, so that what is validated on was never asked in training. The format is TRL's conversational one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from edgelm.arena.answering.origin import digest
from edgelm.arena.arena_store import ArenaStore
from edgelm.arena.records import PERSON, Choice, MatchRecord, RoundHead, Slot
from edgelm.errors import OptionError

Kind = Literal["preferences", "labels"]
KINDS: tuple[Kind, ...] = ("preferences", "labels")
Row = dict[str, Any]


@dataclass
class TrainingRows:
    """Rows, and what became of the rest.

    Attributes:
        training, validation: rows; no prompt has rows in both.
        contradictory: verdicts on the same answers that disagree.
        duplicates: rows that were there already.
        different_prompts: pairs whose answers were made under different system prompts.
        silent: ties and skips, and in pairs both bad.
        length_ratio: the geometric mean of the chosen answer's length over the rejected's, in characters; None without pairs.
    """

    training: list[Row] = field(default_factory=list)
    validation: list[Row] = field(default_factory=list)
    contradictory: int = 0
    duplicates: int = 0
    different_prompts: int = 0
    silent: int = 0
    length_ratio: float | None = None

    @property
    def counts(self) -> dict[str, Any]:
        """What is reported of the rows."""
        return {
            "training": len(self.training),
            "validation": len(self.validation),
            "contradictory": self.contradictory,
            "duplicates": self.duplicates,
            "different_prompts": self.different_prompts,
            "silent": self.silent,
            "length_ratio": self.length_ratio,
        }


def training_rows(
    store: ArenaStore,
    arenas: Sequence[RoundHead],
    kind: Kind,
    *,
    voter: str = PERSON,
    validation: float = 0.0,
    seed: int = 0,
    besides: Iterable[Row] = (),
) -> TrainingRows:
    """Make rows of the votes on some arenas.

    Args:
        kind: which rows.
        voter: whose votes.
        validation: the share of prompts whose rows are validated on.
        seed: of which prompts those are.
        besides: rows of the same kind from elsewhere (ratings in chats), treated as the others.

    Raises:
        OptionError: a kind that is none, or a share outside 0 to 1.
    """
    if kind not in KINDS:
        raise OptionError(f"kind is {kind!r}, expected one of {', '.join(KINDS)}")
    if not 0 <= validation < 1:
        raise OptionError(f"validation is {validation!r}, expected a share of at least 0 and below 1")
    made = TrainingRows()
    read = _pairs if kind == "preferences" else _labels
    found: list[Row] = list(besides)
    for arena in arenas:
        found += read(_Round(store, arena, voter), made)
    _split(_consistent(found, kind, made), made, validation, seed)
    made.length_ratio = _length_ratio(found if kind == "preferences" else [], made)
    return made


class _Round:
    """The votes of an arena, as (match, choice), and what their answers say."""

    def __init__(self, store: ArenaStore, arena: RoundHead, voter: str) -> None:
        matches = {match.id: match for match in store.matches(arena)}
        self.judged: list[tuple[MatchRecord, Choice]] = [
            (matches[cast.match], cast.outcome) for cast in store.votes(arena, voter=voter)
        ]
        self._contestants = {each.contestant.name: each.contestant for each in store.contestants(arena)}
        self._prompts = {asked.id: asked.messages for asked in store.prompts(arena)}
        keys = {slot.answer for match, _ in self.judged for slot in (match.first, match.second)}
        self._texts = store.answers(keys)
        self._origins = {key: store.made_from(key) for key in keys}

    def told(self, slot: Slot) -> list[dict[str, Any]]:
        """The prompt of a slot's answer, to the letter as its model was told."""
        return self._contestants[slot.contestant].asked(self._prompts[slot.prompt])

    def turn(self, slot: Slot) -> list[dict[str, Any]]:
        """The answer of a slot."""
        return [{"role": "assistant", "content": self._texts[slot.answer]}]

    def under(self, slot: Slot) -> dict[str, Any]:
        """What the answer of a slot was made under."""
        contestant = self._contestants[slot.contestant]
        origin = self._origins[slot.answer]
        named = {"model": contestant.model, "adapter": contestant.adapter, "system": contestant.system}
        return {**named, "settings": origin["sampler"] | {"seed": origin["seed"]}}


def _pairs(votes: _Round, made: TrainingRows) -> list[Row]:
    """Pairs, in the order of votes."""
    found = []
    for match, choice in votes.judged:
        if choice not in ("first", "second"):
            made.silent += 1
            continue
        good, bad = (match.first, match.second) if choice == "first" else (match.second, match.first)
        if votes.told(good) != votes.told(bad):
            made.different_prompts += 1
            continue
        found.append(
            {
                "prompt": votes.told(good),
                "chosen": votes.turn(good),
                "rejected": votes.turn(bad),
                "made_under": {"chosen": votes.under(good), "rejected": votes.under(bad)},
            }
        )
    return found


def _labels(votes: _Round, made: TrainingRows) -> list[Row]:
    found = []
    for match, choice in votes.judged:
        verdicts = {"first": (True, False), "second": (False, True), "both_bad": (False, False)}.get(choice)
        if verdicts is None:
            made.silent += 1
            continue
        for slot, label in zip((match.first, match.second), verdicts, strict=True):
            found.append(
                {
                    "prompt": votes.told(slot),
                    "completion": votes.turn(slot),
                    "label": label,
                    "made_under": votes.under(slot),
                }
            )
    return found


def _consistent(rows: Sequence[Row], kind: Kind, made: TrainingRows) -> list[Row]:
    """The rows that nothing contradicts, each once."""
    said: dict[str, set[str]] = {}
    for row in rows:
        said.setdefault(_about(row, kind), set()).add(_verdict(row, kind))
    kept: dict[str, Row] = {}
    for row in rows:
        about = _about(row, kind)
        if len(said[about]) > 1:
            made.contradictory += 1
        elif about in kept:
            made.duplicates += 1
        else:
            kept[about] = row
    return list(kept.values())


def _about(row: Row, kind: Kind) -> str:
    """What a row judges: the answers to a prompt, whichever is better."""
    if kind == "preferences":
        return digest([row["prompt"], sorted(map(_json, (row["chosen"], row["rejected"])))])
    return digest([row["prompt"], row["completion"]])


def _verdict(row: Row, kind: Kind) -> str:
    return _json(row["chosen"]) if kind == "preferences" else str(row["label"])


def _split(rows: Sequence[Row], made: TrainingRows, share: float, seed: int) -> None:
    """Put the rows of a share of the prompts aside; what is told to the model beside the system prompt is the prompt."""
    asked = {id(row): digest(_asked(row["prompt"])) for row in rows}
    prompts = sorted(set(asked.values()), key=lambda prompt: digest([seed, prompt]))
    aside = set(prompts[: min(math.ceil(share * len(prompts)), max(len(prompts) - 1, 0))])
    for row in rows:
        (made.validation if asked[id(row)] in aside else made.training).append(row)


def _asked(messages: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [message for message in messages if message["role"] not in ("system", "developer")]


def _length_ratio(found: Sequence[Row], made: TrainingRows) -> float | None:
    if not found or not (kept := [*made.training, *made.validation]):
        return None
    logs = [math.log((_length(row["chosen"]) + 1) / (_length(row["rejected"]) + 1)) for row in kept]
    return math.exp(sum(logs) / len(logs))


def _length(turns: Iterable[Mapping[str, Any]]) -> int:
    return sum(len(turn.get("content") or "") for turn in turns)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
