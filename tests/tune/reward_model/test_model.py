"""Scores are transformers' of the same weights, alone or in company, over weights of one's own or shared ones."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from rollouts import GRPO, write_questions
from tuning import request

from edgelm import device
from edgelm.adapters.base import describe_base
from edgelm.adapters.files import read_adapter
from edgelm.adapters.peft import export_peft, import_peft
from edgelm.errors import NotFoundError, OptionError, RewardError, UnsupportedError
from edgelm.model.load import load
from edgelm.rewards.reward import JudgedAnswer
from edgelm.runs.events import RunEnded, Stepped
from edgelm.runs.folder import find_run
from edgelm.tune.loop.begin import begin, resume
from edgelm.tune.reward_model.model import RewardModel, find_reward_adapter
from edgelm.tune.reward_model.named import read_all_rewards, reward_models_bytes

pytestmark = pytest.mark.slow


def conversation(asked: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]


CONVERSATIONS = [
    conversation(f"what is {n}{' or so' * n}", answer)
    for n in range(3)
    for answer in (f"the water number {n} boils", f"number {n} is cold", "")
]


@pytest.fixture(scope="module")
def judge(home: Path) -> RewardModel:
    return RewardModel.load(find_reward_adapter("judge"))


def test_better_answers_score_higher_and_company_changes_nothing(judge: RewardModel) -> None:
    together = judge.scores(CONVERSATIONS)
    assert together[0] > together[1] + 1
    assert together[3] > together[4] + 1
    alone = [judge.scores([each])[0] for each in CONVERSATIONS]
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-5)
    assert judge.scores([]) == []


@pytest.mark.parity
def test_scores_are_those_of_transformers_and_peft_and_come_back_from_there(
    home: Path, judge: RewardModel, tmp_path: Path
) -> None:
    torch, peft = pytest.importorskip("torch"), pytest.importorskip("peft")
    from transformers import AutoModelForSequenceClassification

    adapter = read_adapter(home / "home" / "adapters" / "judge")
    export_peft(adapter, tmp_path / "peft", home / "model")
    base = AutoModelForSequenceClassification.from_pretrained(
        home / "model", num_labels=1, dtype=torch.float32
    )
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "peft").eval()
    with torch.no_grad():
        expected = [theirs(torch.tensor([judge.ids(0, each)])).logits.item() for each in CONVERSATIONS]
    np.testing.assert_allclose(judge.scores(CONVERSATIONS), expected, rtol=1e-4, atol=1e-4)
    template = adapter.config.template_sha256
    again = import_peft(
        tmp_path / "peft", tmp_path / "again", home / "model", describe_base(home / "model"),
        template_sha256=template,
    )  # fmt: skip
    own = RewardModel.load(find_reward_adapter(str(again)))
    np.testing.assert_allclose(own.scores(CONVERSATIONS), judge.scores(CONVERSATIONS), rtol=1e-5)
    theirs.save_pretrained(tmp_path / "theirs")  # with the names that PEFT itself gives
    imported = import_peft(
        tmp_path / "theirs", tmp_path / "third", home / "model", describe_base(home / "model")
    )
    third = RewardModel.load(find_reward_adapter(str(imported)))
    np.testing.assert_allclose(third.scores(CONVERSATIONS), expected, rtol=1e-4, atol=1e-4)


def test_a_base_that_is_loaded_lends_its_weights_and_stays_what_it_is(home: Path, judge: RewardModel) -> None:
    beside = load(home / "model")
    ids = mx.array([[3, 5, 7]])
    before = np.array(beside.network(ids))
    held = mx.get_active_memory()
    shared = RewardModel.load(find_reward_adapter("judge"), beside=beside)
    assert shared.scores(CONVERSATIONS) == judge.scores(CONVERSATIONS)
    adapter = read_adapter(home / "home" / "adapters" / "judge")
    assert mx.get_active_memory() - held < 2 * adapter.size_bytes + beside.size_bytes / 2
    np.testing.assert_array_equal(np.array(beside.network(ids)), before)
    with_another = dataclasses.replace(beside, directory=home)
    assert RewardModel.load(find_reward_adapter("judge"), beside=with_another).scores(
        CONVERSATIONS[:1]
    ) == pytest.approx(judge.scores(CONVERSATIONS[:1]))


def test_it_is_a_reward_among_others(home: Path, judge: RewardModel) -> None:
    answers = [
        JudgedAnswer("what is 1", "the water number 1 boils"),
        JudgedAnswer(conversation("what is 1", "")[:1], "number 1 is cold"),
    ]
    with read_all_rewards(["0.5*model:judge", "length:3"]) as rewards:
        scores = rewards.scores(answers)
    expected = judge.scores(
        [
            conversation("what is 1", "the water number 1 boils"),
            conversation("what is 1", "number 1 is cold"),
        ]
    )
    assert list(scores.parts) == ["model-judge", "length"]
    assert scores.parts["model-judge"] == pytest.approx(expected)
    assert scores.totals[0] == pytest.approx(0.5 * expected[0] + scores.parts["length"][0])


def test_a_network_learns_from_its_scores_and_is_resumed_bit_for_bit(home: Path, judge: RewardModel) -> None:
    write_questions(home / "questions.jsonl", 4)
    settings = {**GRPO, "loss": "grpo", "reward": ("model:judge",), "steps": 2, "check_fit": True}
    ends = []
    for name in ("whole", "stopped"):
        session = begin(request(home / "model", home / "questions.jsonl", name=name, **settings))
        events = session.events()
        if name == "stopped":
            while not isinstance(next(events), Stepped):
                pass
            events.close()
            events = resume(find_run(name)).events()
        (*told, ended) = events
        assert isinstance(ended, RunEnded)
        ends.append((Path(str(ended.adapter)) / "adapters.safetensors").read_bytes())
        assert any(isinstance(each, Stepped) and each.metrics["reward"] for each in told)
    assert ends[0] == ends[1]


def test_only_another_base_is_priced(home: Path, tmp_path: Path) -> None:
    machine = device.detect()
    assert reward_models_bytes(["model:judge", "length:3"], home / "model", machine) == 0
    loaded = load(home / "model").size_bytes
    assert reward_models_bytes(["model:judge"], tmp_path, machine) == pytest.approx(loaded, rel=0.01)


def test_what_cannot_score_is_refused_with_its_reason(home: Path, judge: RewardModel, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no adapter 'nobody'"):
        read_all_rewards(["model:nobody"])
    with pytest.raises(OptionError, match="expected model:NAME"):
        read_all_rewards(["model"])
    with pytest.raises(OptionError, match="which is none") as caught:
        read_all_rewards(["modell:judge"])
    assert "model" in str(caught.value.hint)
    judge_of_short = RewardModel("judge", judge._halves, judge._head, judge._encoder, 8)
    with pytest.raises(RewardError, match=r"answer 1 makes a conversation of .* tokens, and the context"):
        judge_of_short.scores(CONVERSATIONS[:1])
    adapter = home / "home" / "adapters" / "judge"
    copied = tmp_path / "copied"
    shutil.copytree(adapter, copied)
    config = json.loads((copied / "adapter_config.json").read_text())
    config["edgelm"]["base_sha256"] = "0" * 64
    (copied / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedError, match="was trained on"):
        find_reward_adapter(str(copied))
