"""Arenas from answers to votes: nothing tells who wrote what, nothing is made twice, no vote is lost."""

from __future__ import annotations

import math
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from arena_answers import RuleModel, make_arena, says_all, write_named_model

from edgelm import paths
from edgelm.api import find_model
from edgelm.arena.arena import Arena
from edgelm.arena.arena_store import ArenaStore
from edgelm.arena.contestants import Contestant, contestants_of
from edgelm.arena.records import Choice
from edgelm.arena.self_naming import names_itself
from edgelm.errors import NotFoundError, OptionError, OutputError


def test_a_contestant_is_read_from_text(tmp_path: Path) -> None:
    system = tmp_path / "poet.txt"
    system.write_text("You are a poet.\n")
    read = Contestant.parse(f"tuned=base,adapter=poems=0.5,temp=0.7,top-k=20,thinking=off,system={system}")
    assert read == Contestant(
        "base",
        "tuned",
        "poems=0.5",
        "You are a poet.",
        {"temperature": 0.7, "top_k": 20, "enable_thinking": False},
    )
    assert Contestant(**read.as_dict()) == read
    assert [each.name for each in contestants_of(["a/base", "base", "base,adapter=x/poems"])] == [
        "base",
        "base-2",
        "base+poems",
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("base,adapter", "no contestant"),
        ("base,heat=1", "heat"),
        ("base,temp=-1", "temperature is -1"),
        ("base,temp=1,temperature=2", "twice"),
        ("", "no contestant"),
    ],
)
def test_what_is_no_contestant_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(OptionError, match=complaint):
        Contestant.parse(text)
    with pytest.raises(OptionError, match="two or more"):
        contestants_of(["base"])


def test_a_system_prompt_stands_in_the_place_of_the_prompts_own() -> None:
    messages = [{"role": "system", "content": "old"}, {"role": "user", "content": "hi"}]
    assert Contestant("m").asked(messages) == messages
    assert Contestant("m", system="new").asked(messages)[0]["content"] == "new"
    assert Contestant("m", system="").asked(messages) == messages[1:]


def test_answers_that_name_themselves_are_seen() -> None:
    assert names_itself("Hello! I am Qwen, made by Alibaba Cloud.")
    assert names_itself("Sure, poems-7b here", ["poems-7b"])
    assert not names_itself("I am afraid that this philosophy is wrong. Google it.")


def test_an_answer_that_is_stored_is_not_made_again(home: Path) -> None:
    log: list[Any] = []
    make_arena(home, prompts=3, log=log).close()
    assert len([entry for entry in log if entry[1] != "closed"]) == 6
    again: list[Any] = []
    with make_arena(home, prompts=4, name="second", log=again) as arena:
        assert sorted(name for name, said in again if said != "closed") == ["left", "right-one"]
        assert arena.ballot().progress.total == 4
    other: list[Any] = []  # other weights under the same name
    (home / "models/left/config.json").write_text('{"model_type": "llama", "changed": true}')
    make_arena(home, prompts=4, name="third", log=other).close()
    assert [name for name, said in other if said != "closed"] == ["left"] * 4


def test_adapters_and_settings_share_one_load_of_their_base(home: Path) -> None:
    write_named_model(home, "base")
    log: list[Any] = []
    with Arena.create(
        ["base", "warm=base,temp=1", "base,temp=0"], ["a", "b"], find=find_model, name="one"
    ) as arena:
        arena.answer(find_model, lambda directory: RuleModel(directory, says_all, log))
        assert [said for _, said in log].count("closed") == 1
        assert len(log) == 5, "two contestants of equal settings share their answers"
        tallied = arena.tally()
        assert sum(vote.identical for vote in tallied.votes) == 2
        assert arena.ballot().progress.total == 4, "identical answers are never asked about"


def test_answers_go_on_where_they_were_ended(home: Path) -> None:
    for name in ("left", "right-one"):
        write_named_model(home, name)
    arena = Arena.create(
        ["left", "right-one"], [f"question {at}" for at in range(5)], find=find_model, name="trial"
    )

    class Ended(RuleModel):
        def generate_many(self, prompts: Any, **named: Any) -> Any:
            for result in super().generate_many(prompts, **named):
                yield result
                if result.index == 2:
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        arena.answer(find_model, lambda directory: Ended(directory, says_all, []))
    with pytest.raises(OptionError, match="not answered yet"):
        arena.ballot()
    arena.close()
    log: list[Any] = []
    with Arena.open("trial") as again:
        again.answer(find_model, lambda directory: RuleModel(directory, says_all, log))
        assert [name for name, said in log if said != "closed"].count("left") == 2
        assert again.ballot().progress.total == 5


def test_what_cannot_be_answered_is_in_no_match(home: Path) -> None:
    def rule(name: str, question: str, prompt: Mapping[str, Any]) -> str | None:
        return None if (name, question) == ("left", "question 1") else says_all(name, question, prompt)

    with make_arena(home, prompts=3, rule=rule) as arena:
        assert arena.ballot().progress.total == 2


def test_votes_come_back_by_name_and_repetitions_show_consistency(home: Path) -> None:
    with make_arena(home, prompts=40) as arena:
        ballot = arena.ballot()
        assert ballot.progress.total == 42, "one of twenty comes again"
        seen = []
        while (match := ballot.next()) is not None:
            assert ballot.next() == match, "what is under way is shown again"
            seen.append((match.messages[0]["content"], match.first))
            assert ballot.vote(match.id, "first" if "number 4" in match.first else "second", took_s=2.0)
        assert len(seen) == 42
        again = [each for each in seen if [question for question, _ in seen].count(each[0]) == 2]
        assert len(set(again)) == 4, "sides are changed the second time"
        standings = arena.standings()
        assert standings.pair("left", "right-one").tally.wins == 40
        assert standings.pair("left", "right-one").verdict == "left is better"
        tallied = arena.tally()
        assert (tallied.consistency.pairs, tallied.consistency.same, tallied.median_s) == (2, 2, 2.0)


def test_what_was_skipped_holds_no_verdict_up(home: Path) -> None:
    with make_arena(home, prompts=20) as arena:
        ballot = arena.ballot()
        verdicts = []
        while (match := ballot.next()) is not None:
            skipped = ballot.progress.done < 2
            choice: Choice = "first" if "number 4" in match.first else "second"
            ballot.vote(match.id, "skip" if skipped else choice)
            if not skipped:
                verdicts.append(arena.standings().pair("left", "right-one").verdict)
        assert verdicts[-1] == "left is better"
        assert set(verdicts[:16]) == {"not known yet"}


def test_a_vote_is_taken_back_and_asked_again(home: Path) -> None:
    with make_arena(home, prompts=4) as arena:
        ballot = arena.ballot()
        assert not ballot.undo()
        first = ballot.next()
        assert first
        with pytest.raises(OptionError, match="not voted on"):
            ballot.reveal(first.id)
        ballot.vote(first.id, "tie")
        assert {ballot.reveal(first.id).first, ballot.reveal(first.id).second} == {"left", "right-one"}
        second = ballot.next()
        assert second
        assert second != first
        assert ballot.undo()
        assert ballot.next() == first
        assert ballot.vote(first.id, "both_bad")
        later = arena.ballot()  # another process, which takes the same one back
        assert later.undo()
        assert later.next() == first
        kinds = (
            sqlite3.connect(paths.database())
            .execute("SELECT outcome FROM arena_votes ORDER BY id")
            .fetchall()
        )
        assert [kind for (kind,) in kinds] == ["tie", "taken_back", "both_bad", "taken_back"]
        with pytest.raises(OptionError, match="expected one of first"):
            ballot.vote(first.id, "left")  # type: ignore[arg-type]
        with pytest.raises(OptionError, match="no match"):
            ballot.vote("nothing", "tie")


def test_two_at_once_vote_once_on_each_match(home: Path) -> None:
    with make_arena(home, prompts=4) as arena, Arena.open("trial") as other:
        one, two = arena.ballot(), other.ballot()
        match = one.next()
        assert match
        assert two.next() == match
        assert one.vote(match.id, "first")
        assert not two.vote(match.id, "second"), "the vote that came first stands"
        following = two.next()
        assert following
        assert following != match
        judge = arena.ballot("judge")
        assert judge.progress.done == 0
        assert judge.vote(match.id, "tie"), "voters are apart"
        assert arena.tally("judge").votes[0].outcome == "tie"


def test_more_than_two_are_paired_by_what_is_told(home: Path) -> None:
    with make_arena(home, prompts=12, models=("left", "right-one", "third-model")) as arena:
        ballot = arena.ballot()
        for _ in range(12):
            match = ballot.next()
            assert match
            ballot.vote(match.id, "first" if len(match.first) > len(match.second) else "second")
        standings = arena.standings()
        assert len(standings.pools) == 1
        assert standings.pools[0][0].contestant == "third-model"


def test_a_locked_database_is_told_and_the_vote_can_be_given_again(home: Path) -> None:
    make_arena(home, prompts=4).close()
    with ArenaStore(timeout_s=0.05) as store:
        ballot = Arena(store, store.find()).ballot()
        match = ballot.next()
        assert match
        holder = sqlite3.connect(paths.database(), isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(OutputError, match="locked by another process"):
            ballot.vote(match.id, "first")
        holder.execute("ROLLBACK")
        assert ballot.next() == match
        assert ballot.vote(match.id, "first")


def test_a_contestant_that_was_deleted_is_in_the_report_by_name(home: Path) -> None:
    with make_arena(home, prompts=4) as arena:
        match = arena.ballot().next()
        assert match
        arena.ballot().vote(match.id, "first")
        for file in (home / "models/left").iterdir():
            file.unlink()
        (home / "models/left").rmdir()
        assert arena.tally().contestants == ("left", "right-one")
        assert arena.ballot().next()
        assert arena.answer(find_model, lambda directory: pytest.fail("nothing is loaded")) == []


def test_what_is_missing_is_told_before_anything_is_kept(home: Path) -> None:
    write_named_model(home, "left")
    with pytest.raises(NotFoundError, match="gone"):
        Arena.create(["left", "./gone"], ["a"], find=find_model)
    with pytest.raises(NotFoundError, match="no arena yet"):
        Arena.open()
    make_arena(home, prompts=2).close()
    with pytest.raises(OptionError, match="already"):
        make_arena(home, prompts=2)
    with pytest.raises(NotFoundError, match="expected one of: trial"):
        Arena.open("trail")
    with Arena.open("trial") as arena:
        arena.remove()
    with pytest.raises(NotFoundError):
        Arena.open("trial")


@pytest.mark.slow
@pytest.mark.fault
def test_votes_outlive_a_kill(home: Path) -> None:
    make_arena(home, prompts=30).close()
    script = (
        "from edgelm.arena.arena import Arena\nballot = Arena.open().ballot()\n"
        "while match := ballot.next():\n    ballot.vote(match.id, 'first'); print('.', end='', flush=True)\n"
        "    if ballot.progress.done == 9: import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, env=dict(os.environ), check=False
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    with Arena.open() as arena:
        assert arena.ballot().next()
        assert len(arena.tally().votes) == len(ended.stdout) > 0


def cheat(connection: sqlite3.Connection, match: sqlite3.Row) -> dict[str, bool]:
    """Guesses from order, ids, times and lengths alone that the first answer is the earlier contestant's."""
    order = {
        table: [row[0] for row in connection.execute(f"SELECT * FROM {table}")]
        for table in ("arena_slots", "arena_answers", "arena_matches")
    }
    at = order["arena_slots"].index
    key = {row[0]: row[3] for row in connection.execute("SELECT * FROM arena_slots")}
    answers = order["arena_answers"].index
    return {
        "order of slots": at(match["first"]) < at(match["second"]),
        "order of answers": answers(key[match["first"]]) < answers(key[match["second"]]),
        "id of the match": int(match["id"], 16) % 2 == 0,
        "order of matches": order["arena_matches"].index(match["id"]) % 2 == 0,
        "place": match["place"] % 2 == 0,
        "early": match["place"] < 20,
        "always": True,
    }


@pytest.mark.slow
def test_a_reader_who_cheats_learns_nothing_from_the_store(home: Path) -> None:
    hits: dict[str, int] = {}
    count = 0
    for seed in range(8):
        make_arena(home, prompts=40, name=f"trial-{seed}", seed=seed).close()
        connection = sqlite3.connect(paths.database())
        connection.row_factory = sqlite3.Row
        names = {
            row[0]: row[1]
            for row in connection.execute(
                "SELECT s.id, c.name FROM arena_slots AS s JOIN arena_contestants AS c ON c.id = s.contestant"
            )
        }
        found = connection.execute(
            "SELECT m.* FROM arena_matches AS m JOIN arena_rounds AS r ON r.id = m.round"
            " WHERE r.name = ? AND m.repeats IS NULL ORDER BY place",
            (f"trial-{seed}",),
        ).fetchall()
        for match in found:
            truth = names[match["first"]] == "left"
            count += 1
            for how, guess in cheat(connection, match).items():
                hits[how] = hits.get(how, 0) + (guess is truth)
        connection.close()
    for how, right in hits.items():
        # Ids are drawn anew each time: five standard deviations are met once in a million runs.
        assert abs(right - count / 2) < 5 * math.sqrt(count / 4), f"{how}: {right} of {count}"
    assert hits["always"] == count / 2, "sides are balanced to a match"


def test_no_time_and_no_rowid_stands_beside_an_answer(home: Path) -> None:
    make_arena(home, prompts=2).close()
    connection = sqlite3.connect(paths.database())
    for table in ("arena_answers", "arena_slots", "arena_matches", "arena_contestants", "arena_prompts"):
        columns = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        assert not columns & {"created", "at", "took_s", "updated", "duration", "tokens"}
        with pytest.raises(sqlite3.OperationalError, match="rowid"):
            connection.execute(f"SELECT rowid FROM {table}")
