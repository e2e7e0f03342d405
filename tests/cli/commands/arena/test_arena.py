"""`edgelm arena` as people use it: contestants to votes in a terminal, lines in a pipe, reports, rows."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from arena_answers import make_arena
from checkpoints import write_checkpoint

from edgelm.arena.arena import Arena
from edgelm.cli.main import main


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    lines = io.StringIO()
    monkeypatch.setattr("sys.stdin", lines)
    return lines


def type_lines(lines: io.StringIO, text: str) -> None:
    at = lines.tell()
    lines.write(text)
    lines.seek(at)


def test_letters_and_enter_vote_where_there_is_no_terminal(
    home: Path, typed: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    make_arena(home, prompts=5).close()
    type_lines(typed, "a\nu\nB\nwhat\n\nt\nx\nq\n")
    assert main(["arena", "vote", "--reveal"]) == 0
    out = capsys.readouterr().out
    assert "the last vote is taken back" in out
    assert "'w' is no vote" in out
    assert "3 of 5 matches voted on" in out
    assert out.count("A was ") == 4
    assert "left" not in out.split("A was")[0], "no name stands before the vote"
    type_lines(typed, "s\na\n")  # and the end of the input
    assert main(["arena", "vote", "trial"]) == 0
    out = capsys.readouterr().out
    assert "5 of 5 matches voted on" in out
    assert "was" not in out.split("arena report")[0].replace("question", "")
    assert main(["arena", "report", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["votes"], said["skipped"]) == (4, 1)
    assert main(["arena", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["votes"] == 5


def test_the_report_says_what_is_known(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with make_arena(home, prompts=12) as arena:
        ballot = arena.ballot()
        while match := ballot.next():
            ballot.vote(match.id, "first" if match.first.endswith("number 4") else "second", took_s=2)
    picture = tmp_path / "ratings.svg"
    assert main(["arena", "report", "trial", "--control", "length", "--svg", str(picture)]) == 0
    out = capsys.readouterr().out
    assert "left is better" in out
    assert "judged twice, sides changed: 1 of 1 alike" in out
    assert "<svg" in picture.read_text()
    assert main(["arena", "report", "trial", "--svg", str(picture)]) == 1, "a file is not written over"
    capsys.readouterr()
    rows = tmp_path / "rows.jsonl"
    assert (
        main(["arena", "export", "-o", str(rows), "--kind", "labels", "--validation", "0.25", "--json"]) == 0
    )
    said = json.loads(capsys.readouterr().out)
    assert (said["training"], said["validation"]) == (18, 6)
    assert len((tmp_path / "rows.valid.jsonl").read_text().splitlines()) == 6
    assert main(["arena", "remove", "trial", "--yes"]) == 0
    assert main(["arena", "export", "-o", str(tmp_path / "more.jsonl")]) == 1


def test_wrong_words_are_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["arena"]) == 0
    assert "no arena yet" in capsys.readouterr().err
    assert main(["arena", "one", "--prompts", "writing"]) == 2
    assert "two or more" in capsys.readouterr().err
    assert main(["arena", "vote"]) == 1
    assert "there is no arena yet" in capsys.readouterr().err
    assert main(["arena", "one", "two"]) == 2
    assert "--prompts" in capsys.readouterr().err


@pytest.mark.slow
def test_models_answer_and_one_base_is_loaded_for_two(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "tiny"
    write_checkpoint(model)
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("what is water\nhow are you\n")
    words = ["cold=" + str(model), f"hot={model},temp=2,seed=7", f"again={model},max-tokens=9"]
    assert main(["arena", *words, "--prompts", str(prompts), "--max-tokens", "9", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"arena": "cold-vs-hot-vs-again", "contestants": ["again", "cold", "hot"]}
    with Arena.open() as arena:
        votes = arena.tally().votes
        assert {frozenset((vote.first, vote.second)) for vote in votes if vote.identical} == {
            frozenset(("again", "cold"))
        }
        assert arena.ballot().progress.total == 4
    # The same asked again needs no network: every answer is stored.
    monkeypatch.setattr("edgelm.api.load", None)
    assert (
        main(["arena", "new", *words, "--prompts", str(prompts), "--max-tokens", "9", "--name", "more"]) == 0
    )
    assert "arena more is ready" in capsys.readouterr().out


@pytest.mark.slow
def test_two_hundred_votes_by_single_keys_in_a_terminal(home: Path, terminal: Callable[..., Any]) -> None:
    make_arena(home, prompts=190).close()  # and one of twenty again
    shell = terminal("arena", "vote", NO_COLOR="1", COLUMNS="120")
    for at in range(200):
        shell.wait_for("q quit")
        shell.send("abtx"[at % 4])
    shell.wait_for("any other key leaves")
    shell.send(" ")
    assert shell.wait() == 0
    assert "200 of 200 matches voted on" in shell.output
    assert "left" not in shell.output.replace("no match is left", "")
    assert "right-one" not in shell.output
    with Arena.open() as arena:
        assert len(arena.tally().votes) == 200
    shell = terminal("arena", "vote", "trial", COLUMNS="60")
    shell.wait_for("any other key leaves")
    shell.send("u")
    shell.wait_for("— B —", then="q quit")
    shell.send("\x03")
    assert shell.wait() == 130, "Ctrl-C leaves, and the terminal is as it was"
    with Arena.open() as arena:
        assert arena.ballot().progress.done == 199


def test_a_judge_votes_and_its_report_stands_apart(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_arena(home, prompts=6).close()
    assert main(["arena", "report", "--by", "reward:length:2"]) == 2
    assert "has not voted on trial" in capsys.readouterr().err
    assert main(["arena", "judge", "--by", "reward:regex:number 4", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["judged"], said["unreadable"], said["flip_rate"]) == (6, 0, None)
    assert main(["arena", "judge", "--by", "random:1"]) == 0
    assert main(["arena", "report", "--by", "reward:regex:number 4"]) == 0
    out = capsys.readouterr().out
    assert "left is better" in out
    assert "agreement with random:1: " in out
    assert main(["arena", "report", "--json"]) == 0
    mine = json.loads(capsys.readouterr().out)
    assert (mine["voter"], mine["votes"]) == ("person", 0)
    rows = tmp_path / "rows.jsonl"
    assert main(["arena", "export", "--by", "reward:regex:number 4", "-o", str(rows)]) == 0
    assert len(rows.read_text().splitlines()) == 6
    assert main(["arena", "judge", "--by", "somebody"]) == 2
    assert "expected model:NAME, reward:REWARD or random:SEED" in capsys.readouterr().err
