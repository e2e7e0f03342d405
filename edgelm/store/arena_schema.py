"""The tables of blind comparisons.

Every id that stands beside an answer before its vote is drawn at random, no table that links answers to contestants has a rowid
or a time, and sides are columns of a match whose contestants a balanced coin chose: what lies in the file, in whatever order it
is read, tells no more than the answers do. Votes are only ever added; taking one back is one more row.
"""

from __future__ import annotations

from edgelm.store.database import Schema

SCHEMA = Schema(
    "arena",
    (
        """\
CREATE TABLE arena_rounds (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    settings TEXT NOT NULL,
    created REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE arena_contestants (
    id TEXT PRIMARY KEY,
    round TEXT NOT NULL REFERENCES arena_rounds (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    made_as TEXT NOT NULL,
    UNIQUE (round, name)
) WITHOUT ROWID;
CREATE TABLE arena_prompts (
    id TEXT PRIMARY KEY,
    round TEXT NOT NULL REFERENCES arena_rounds (id) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    messages TEXT NOT NULL,
    UNIQUE (round, digest)
) WITHOUT ROWID;
CREATE TABLE arena_answers (
    key TEXT PRIMARY KEY,
    made_from TEXT NOT NULL,
    text TEXT NOT NULL,
    reason TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE arena_slots (
    id TEXT PRIMARY KEY,
    contestant TEXT NOT NULL REFERENCES arena_contestants (id) ON DELETE CASCADE,
    prompt TEXT NOT NULL REFERENCES arena_prompts (id) ON DELETE CASCADE,
    answer TEXT NOT NULL REFERENCES arena_answers (key),
    UNIQUE (contestant, prompt)
) WITHOUT ROWID;
CREATE TABLE arena_matches (
    id TEXT PRIMARY KEY,
    round TEXT NOT NULL REFERENCES arena_rounds (id) ON DELETE CASCADE,
    first TEXT NOT NULL REFERENCES arena_slots (id),
    second TEXT NOT NULL REFERENCES arena_slots (id),
    repeats TEXT REFERENCES arena_matches (id),
    place REAL NOT NULL,
    identical INTEGER NOT NULL,
    names_itself INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX arena_matches_round ON arena_matches (round, place);
CREATE TABLE arena_votes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    match TEXT NOT NULL REFERENCES arena_matches (id) ON DELETE CASCADE,
    voter TEXT NOT NULL,
    outcome TEXT NOT NULL,
    at REAL NOT NULL,
    took_s REAL NOT NULL,
    takes_back INTEGER REFERENCES arena_votes (id)
);
CREATE INDEX arena_votes_match ON arena_votes (match);
""",
    ),
)
