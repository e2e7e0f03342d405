"""Several answers are drawn and the one that is judged best is the reply, in Python, on the command line and in saved chats."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgelm import api
from edgelm.cli.main import main
from edgelm.errors import EdgeLMError, FormatError, NotFoundError, OptionError
from edgelm.runtime.events import Finished, Picked, Prefill, Text
from edgelm.store.chats import Chats
from edgelm.tune.reward_model.model import RewardModel, find_reward_adapter

pytestmark = pytest.mark.slow
ASKED = "what is 3 or so"
DRAWN: dict[str, Any] = {"best_of": 4, "max_tokens": 6, "seed": 5}


@pytest.fixture(scope="module")
def model(home: Path) -> Iterator[api.Model]:
    with api.load(home / "model") as loaded:
        yield loaded


def test_the_reply_is_the_best_of_the_answers_that_seeds_give(model: api.Model) -> None:
    rule = "length:1-3"
    best = model.generate(ASKED, judge_by=rule, temperature=0.9, **DRAWN)
    alone = [
        model.generate(ASKED, temperature=0.9, max_tokens=6, seed=DRAWN["seed"] + at).text for at in range(4)
    ]
    everything = [best.text, *(other.text for other in best.others)]
    assert sorted(everything) == sorted(alone)
    scores = [other.score for other in best.others]
    assert scores == sorted(scores, reverse=True)
    assert best.score is not None
    assert best.score >= (scores[0] or 0)
    assert best.score == (1.0 if 1 <= len(best.text.split()) <= 3 else best.score)


def test_a_reward_model_judges_what_was_said_in_the_chat(home: Path, model: api.Model) -> None:
    chat = model.chat(system="be short")
    reply = chat.send(ASKED, judge_by="model:judge", **DRAWN)
    judge = RewardModel.load(find_reward_adapter("judge"))
    asked = [{"role": "system", "content": "be short"}, {"role": "user", "content": ASKED}]
    texts = [reply.text, *(other.text for other in reply.others)]
    assert len(set(texts)) > 1  # greedy by default, and drawn for this
    expected = judge.scores([[*asked, {"role": "assistant", "content": text}] for text in texts])
    assert [reply.score, *(other.score for other in reply.others)] == pytest.approx(expected, abs=1e-4)
    assert reply.score == max(expected, key=float) or reply.score == pytest.approx(max(expected), abs=1e-4)
    assert [message["content"] for message in chat.messages] == [ASKED, reply.text]
    assert chat.send("and now", max_tokens=3).others == ()


def test_events_are_those_of_one_reply_with_the_choice_before_it(model: api.Model) -> None:
    events = list(model.events(ASKED, judge_by="length:3", **DRAWN))
    kinds = [type(event) for event in events if not isinstance(event, Prefill)]
    assert kinds[0] is Picked
    assert kinds[-1] is Finished
    assert set(kinds[1:-1]) <= {Text}
    assert sum(isinstance(event, Finished) for event in events) == 1


def test_many_prompts_each_have_their_best(model: api.Model) -> None:
    prompts = [{"prompt": ASKED, "best_of": 3, "judge_by": "length:2"}, ASKED]
    reports = []
    results = sorted(
        model.generate_many(prompts, max_tokens=4, seed=1, on_progress=reports.append), key=lambda r: r.index
    )
    assert [len(result.completion.others) if result.completion else None for result in results] == [2, 0]
    assert (reports[-1].done, reports[-1].total) == (2, 2)


@pytest.mark.parametrize(
    ("settings", "kind", "words"),
    [
        ({"best_of": 2}, OptionError, "expected both or neither"),
        ({"judge_by": "length:3"}, OptionError, "expected both or neither"),
        ({"best_of": 2, "judge_by": 3}, OptionError, "expected a reward"),
        ({"best_of": 0}, OptionError, "best_of"),
        ({"best_of": 2, "judge_by": "lenght:3"}, OptionError, "which is none"),
        ({"best_of": 2, "judge_by": "model:nobody"}, NotFoundError, "no adapter 'nobody'"),
        ({"best_of": 2, "judge_by": "exact"}, FormatError, "has no 'answer', which the reward exact reads"),
    ],
)
def test_what_cannot_judge_is_refused_before_anything_is_drawn(
    model: api.Model, settings: dict[str, Any], kind: type[EdgeLMError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        model.generate(ASKED, **settings)


def test_the_command_line_shows_the_best_and_keeps_the_others(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    command = [
        "chat",
        str(home / "model"),
        "-p",
        ASKED,
        "--best-of",
        "3",
        "--judge-by",
        "model:judge",
        "--log",
    ]
    assert main([*command, "--max-tokens", "5", "--seed", "2"]) == 0
    shown = capsys.readouterr()
    assert "best of 3: scored" in shown.err
    with_chats = Chats()
    latest = with_chats.latest()
    assert latest is not None
    prompt, answer = with_chats.path(latest.id)
    assert answer.content.strip() == shown.out.strip()
    assert with_chats.sibling_places(latest.id)[answer.id][1] == 3
    assert prompt.content == ASKED
    with_chats.close()


def test_a_file_of_prompts_has_scores_and_others(home: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text(f"{ASKED}\n")
    command = ["generate", str(home / "model"), "--input", str(tmp_path / "prompts.txt"), "--chat"]
    command += ["--best-of", "2", "--judge-by", "length:4", "--max-tokens", "4"]
    assert main([*command, "--output", str(tmp_path / "out.jsonl")]) == 0
    (row,) = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert row["score"] >= row["others"][0]["score"]


def test_a_reward_model_as_adapter_of_a_chat_is_refused(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert main(["chat", str(home / "model"), "-p", "hi", "--adapter", "judge"]) == 1
    assert "is a reward model: it scores answers and writes none" in capsys.readouterr().err


def test_a_loaded_model_that_trains_its_judge_stays_as_it_is(home: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (home / "pairs.jsonl").read_text().splitlines()]
    with api.load(home / "model") as own:
        result = own.tune(rows, loss="reward", steps=1, rank=2, name="own", answer_tokens=0, check_fit=False)
        assert own.adapters == {}
        best = own.generate(ASKED, judge_by=f"model:{result.run}", **DRAWN)
    assert len(best.others) == 3


def test_the_library_tells_who_answers_and_who_scores(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adapters", "list", "--json"]) == 0
    tasks = {each["name"]: each["task"] for each in json.loads(capsys.readouterr().out)}
    assert tasks["judge"] == "reward"
