"""The arenas in the one SQLite file: rounds, contestants, prompts, answers, matches, votes. Knows no model."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgelm import paths
from edgelm.arena.contestants import Contestant
from edgelm.arena.records import TAKEN_BACK, ArenaPrompt, Cast, MatchRecord, RoundHead, Slot, Standing
from edgelm.errors import NotFoundError, OptionError
from edgelm.store.arena_schema import SCHEMA
from edgelm.store.database import BUSY_TIMEOUT_S, Database

_MATCHES = """\
SELECT m.*, f.prompt AS prompt, f.answer AS first_answer, s.answer AS second_answer,
       fc.name AS first_name, sc.name AS second_name
FROM arena_matches AS m JOIN arena_slots AS f ON f.id = m.first JOIN arena_slots AS s ON s.id = m.second
JOIN arena_contestants AS fc ON fc.id = f.contestant JOIN arena_contestants AS sc ON sc.id = s.contestant
WHERE m.round = ? ORDER BY m.place
"""


class ArenaStore:
    """The tables of all arenas. Close it, or use it in a `with` block.

    Args:
        path: the database; None is the user's.
        timeout_s: how long another process that writes is waited for.

    Raises:
        FormatError, UnsupportedError, OutputError: as `edgelm.store.database.Database`.
    """

    def __init__(self, path: Path | None = None, *, timeout_s: float = BUSY_TIMEOUT_S) -> None:
        self._database = Database(path or paths.database(), SCHEMA, timeout_s=timeout_s)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> ArenaStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def create(
        self,
        name: str,
        contestants: Sequence[Contestant],
        prompts: Mapping[str, Sequence[Mapping[str, Any]]],
        *,
        seed: int,
        max_tokens: int,
    ) -> RoundHead:
        """Begin an arena; `prompts` are messages by their digest.

        Raises:
            OptionError: there is one of that name.
        """
        head = RoundHead(new_id(), name, seed, max_tokens, time.time())
        with self._database.transaction() as rows:
            if rows.execute("SELECT 1 FROM arena_rounds WHERE name = ?", (name,)).fetchone():
                raise OptionError(f"there is an arena {name!r} already", hint="choose another --name")
            rows.execute(
                "INSERT INTO arena_rounds VALUES (?, ?, ?, ?)",
                (head.id, name, _json({"seed": seed, "max_tokens": max_tokens}), head.created),
            )
            rows.executemany(
                "INSERT INTO arena_contestants VALUES (?, ?, ?, ?)",
                [(new_id(), head.id, each.name, _json(each.as_dict())) for each in contestants],
            )
            rows.executemany(
                "INSERT INTO arena_prompts VALUES (?, ?, ?, ?)",
                [(new_id(), head.id, digest, _json(list(said))) for digest, said in prompts.items()],
            )
        return head

    def rounds(self) -> list[RoundHead]:
        """List the arenas, the latest first."""
        return [
            _round(row) for row in self._database.rows("SELECT * FROM arena_rounds ORDER BY created DESC")
        ]

    def find(self, name: str | None = None) -> RoundHead:
        """Return the arena of a name; None is the latest.

        Raises:
            NotFoundError: there is none.
        """
        known = self.rounds()
        for head in known:
            if name is None or head.name == name:
                return head
        if name is None:
            raise NotFoundError(
                "there is no arena yet", hint="edgelm arena MODEL MODEL --prompts writing begins one"
            )
        names = ", ".join(head.name for head in known[:5]) or "none"
        raise NotFoundError(f"there is no arena {name!r}, expected one of: {names}", hint="edgelm arena list")

    def remove(self, arena: RoundHead) -> None:
        """Delete an arena, its votes with it; answers stay for others that ask the same."""
        with self._database.transaction() as rows:
            own = "(SELECT id FROM arena_matches WHERE round = ?)"
            rows.execute(
                f"DELETE FROM arena_votes WHERE takes_back IS NOT NULL AND match IN {own}", (arena.id,)
            )
            rows.execute(f"DELETE FROM arena_votes WHERE match IN {own}", (arena.id,))
            rows.execute("DELETE FROM arena_matches WHERE round = ? AND repeats IS NOT NULL", (arena.id,))
            rows.execute("DELETE FROM arena_matches WHERE round = ?", (arena.id,))
            rows.execute("DELETE FROM arena_rounds WHERE id = ?", (arena.id,))

    def contestants(self, arena: RoundHead) -> list[Standing]:
        """List who takes part, by name."""
        found = self._database.rows("SELECT * FROM arena_contestants WHERE round = ? ORDER BY name", arena.id)
        return [Standing(row["id"], Contestant(**json.loads(row["made_as"]))) for row in found]

    def prompts(self, arena: RoundHead) -> list[ArenaPrompt]:
        """List what is asked, by digest."""
        found = self._database.rows("SELECT * FROM arena_prompts WHERE round = ? ORDER BY digest", arena.id)
        return [ArenaPrompt(row["id"], row["digest"], tuple(json.loads(row["messages"]))) for row in found]

    def slots(self, arena: RoundHead) -> list[Slot]:
        """List the answers that are there, by id."""
        found = self._database.rows(
            "SELECT s.*, c.name FROM arena_slots AS s JOIN arena_contestants AS c ON c.id = s.contestant"
            " WHERE c.round = ? ORDER BY s.id",
            arena.id,
        )
        return [Slot(row["id"], row["name"], row["prompt"], row["answer"]) for row in found]

    def answers(self, keys: Iterable[str]) -> dict[str, str]:
        """Return the texts of the answers that are stored under some of `keys`."""
        found: dict[str, str] = {}
        for key in keys:
            row = self._database.row("SELECT text FROM arena_answers WHERE key = ?", key)
            if row is not None:
                found[key] = row["text"]
        return found

    def made_from(self, key: str) -> dict[str, Any]:
        """Return what an answer was made from: hashes, sampler and seed."""
        row = self._database.row("SELECT made_from FROM arena_answers WHERE key = ?", key)
        if row is None:
            raise NotFoundError(f"there is no answer {key}")
        return dict(json.loads(row["made_from"]))

    def keep_answer(self, key: str, made_from: Mapping[str, Any], text: str, reason: str) -> None:
        """Store an answer; one that is there already stays."""
        with self._database.transaction() as rows:
            rows.execute(
                "INSERT OR IGNORE INTO arena_answers VALUES (?, ?, ?, ?)",
                (key, _json(made_from), text, reason),
            )

    def fill(self, filled: Iterable[tuple[str, str, str]]) -> None:
        """Give contestants their answers: (contestant's id, prompt's id, key); what is there already stays."""
        with self._database.transaction() as rows:
            rows.executemany(
                "INSERT OR IGNORE INTO arena_slots VALUES (?, ?, ?, ?)",
                [(new_id(), contestant, prompt, key) for contestant, prompt, key in filled],
            )

    def lay_out(self, arena: RoundHead, matches: Iterable[MatchRecord]) -> None:
        """Add matches, in one transaction; none where another process laid some out meanwhile."""
        with self._database.transaction() as rows:
            if rows.execute("SELECT 1 FROM arena_matches WHERE round = ?", (arena.id,)).fetchone():
                return
            rows.executemany(
                "INSERT INTO arena_matches VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (m.id, arena.id, m.first.id, m.second.id, m.repeats, m.place, m.identical, m.names_itself)
                    for m in matches
                ],
            )

    def matches(self, arena: RoundHead) -> list[MatchRecord]:
        """List the matches, in the order of their places."""
        return [
            MatchRecord(
                row["id"],
                Slot(row["first"], row["first_name"], row["prompt"], row["first_answer"]),
                Slot(row["second"], row["second_name"], row["prompt"], row["second_answer"]),
                row["repeats"],
                row["place"],
                bool(row["identical"]),
                bool(row["names_itself"]),
            )
            for row in self._database.rows(_MATCHES, arena.id)
        ]

    def votes(self, arena: RoundHead, *, voter: str | None = None, after: int = 0) -> list[Cast]:
        """List the votes that stand, the oldest first; of one voter, or of all; those after a vote's id."""
        found = self._database.rows(
            "SELECT v.* FROM arena_votes AS v JOIN arena_matches AS m ON m.id = v.match"
            " WHERE m.round = ? AND v.id > ? AND v.outcome <> ? AND (? IS NULL OR v.voter = ?)"
            " AND NOT EXISTS (SELECT 1 FROM arena_votes AS t WHERE t.match = v.match AND t.takes_back = v.id) ORDER BY v.id",
            arena.id, after, TAKEN_BACK, voter, voter,
        )  # fmt: skip
        return [
            Cast(row["id"], row["match"], row["voter"], row["outcome"], row["at"], row["took_s"])
            for row in found
        ]

    def vote(self, match: str, voter: str, outcome: str, took_s: float) -> int | None:
        """Add a vote, on the disk when this returns; None where this voter has one on the match that stands."""
        with self._database.transaction() as rows:
            if _standing(rows, match, voter) is not None:
                return None
            return rows.execute(
                "INSERT INTO arena_votes (match, voter, outcome, at, took_s) VALUES (?, ?, ?, ?, ?)",
                (match, voter, outcome, time.time(), took_s),
            ).lastrowid

    def take_back(self, match: str, voter: str) -> bool:
        """Take back the vote that stands on a match, by one more row; False if there is none."""
        with self._database.transaction() as rows:
            standing = _standing(rows, match, voter)
            if standing is None:
                return False
            rows.execute(
                "INSERT INTO arena_votes (match, voter, outcome, at, took_s, takes_back) VALUES (?, ?, ?, ?, 0, ?)",
                (match, voter, TAKEN_BACK, time.time(), standing),
            )
            return True


def new_id() -> str:
    """Draw an id that says nothing of when or for whom it was drawn."""
    return secrets.token_hex(8)


def _standing(rows: Any, match: str, voter: str) -> int | None:
    found = rows.execute(
        "SELECT id FROM arena_votes AS v WHERE match = ? AND voter = ? AND outcome <> ?"
        " AND NOT EXISTS (SELECT 1 FROM arena_votes AS t WHERE t.match = v.match AND t.takes_back = v.id)",
        (match, voter, TAKEN_BACK),
    ).fetchone()
    return None if found is None else int(found["id"])


def _round(row: Any) -> RoundHead:
    settings = json.loads(row["settings"])
    return RoundHead(row["id"], row["name"], settings["seed"], settings["max_tokens"], row["created"])


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
