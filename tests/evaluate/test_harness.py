"""lm-eval on a model of ours, beside direct computation; and a plain refusal without lm-eval."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import write_checkpoint

from edgelm.cli.main import main
from edgelm.errors import NotFoundError, OptionError, UnsupportedError
from edgelm.evaluate.harness import is_installed, read_scores, run_tasks
from edgelm.evaluate.quality import Subject

needs_lm_eval = pytest.mark.skipif(not is_installed(), reason="lm-eval is not installed")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("harness") / "tiny"
    write_checkpoint(directory, "llama")
    return directory


def test_without_lm_eval_there_is_a_hint(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("edgelm.evaluate.harness.is_installed", lambda: False)
    with pytest.raises(UnsupportedError, match="lm-eval, which is not installed"):
        run_tasks(Subject(source), ["arc_easy"])
    assert main(["eval", str(source), "--tasks", "arc_easy"]) == 1
    assert "pip install 'edgelm[eval]'" in capsys.readouterr().err
    assert "lm_eval" not in sys.modules or is_installed()


def test_figures_are_read_from_results() -> None:
    results = {
        "results": {
            "arc_easy": {
                "alias": "arc_easy", "acc,none": 0.5, "acc_stderr,none": 0.05, "acc_norm,none": 0.25,
                "acc_norm_stderr,none": "N/A", "sample_len": 100,
            },
            "gsm8k": {"exact_match,strict-match": 0.1, "exact_match_stderr,strict-match": 0.03},
        },
        "n-samples": {"arc_easy": {"original": 2376, "effective": 100}},
    }  # fmt: skip
    scores = {(score.task, score.metric): score for score in read_scores(results)}
    assert scores.keys() == {
        ("arc_easy", "acc"),
        ("arc_easy", "acc_norm"),
        ("gsm8k", "exact_match, strict-match"),
    }
    assert scores["arc_easy", "acc"].value.standard_error == 0.05
    assert scores["arc_easy", "acc"].examples == 100
    assert math.isnan(scores["arc_easy", "acc_norm"].value.standard_error)
    assert scores["gsm8k", "exact_match, strict-match"].examples is None


@needs_lm_eval
@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"tasks": ["arc_esay"]}, NotFoundError, "no task 'arc_esay'"),
        ({"tasks": []}, OptionError, "no task was named"),
        ({"tasks": ["arc_easy"], "limit": 0}, OptionError, "limit is 0"),
        ({"tasks": ["arc_easy"], "shots": -1}, OptionError, "shots is -1"),
    ],
)
def test_what_cannot_be_run_is_refused(
    source: Path, settings: dict[str, Any], error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        run_tasks(Subject(source), **settings)


class Request:
    """What lm-eval hands over."""

    def __init__(self, *args: Any) -> None:
        self.args = args


@pytest.fixture(scope="module")
def model(source: Path) -> Any:
    from edgelm.evaluate.harness_model import HarnessModel

    return HarnessModel(Subject(source).load())


def log_probabilities(model: Any, ids: list[int]) -> np.ndarray:
    """[T, V] of the model's own logits, in float64."""
    import mlx.core as mx

    logits = np.array(model._loaded.network(mx.array([ids]))[0], dtype=np.float64)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@needs_lm_eval
def test_log_likelihoods_equal_direct_computation(model: Any) -> None:
    for context, answer in [("the water", " boils"), ("the ", "mountain"), ("", "the water")]:
        (found,) = model.loglikelihood([Request(context, answer)], disable_tqdm=True)
        whole = model.tokenizer.encode(context + answer)
        start = len(model.tokenizer.encode(context.rstrip())) if context else 0
        ids = [model.prefix_token_id, *whole] if not context else whole
        start += not context
        log_p = log_probabilities(model, ids)
        expected = sum(log_p[at - 1, ids[at]] for at in range(start, len(ids)))
        greedy = all(log_p[at - 1].argmax() == ids[at] for at in range(start, len(ids)))
        assert found[0] == pytest.approx(expected, rel=1e-4)
        assert found[1] == greedy


@needs_lm_eval
def test_rolling_predicts_every_token_once(model: Any) -> None:
    text = "the water on the mountain boils at a lower temperature " * 3
    ids = [model.prefix_token_id, *model.tokenizer.encode(text, add_special_tokens=False)]
    assert len(ids) < model.max_length
    log_p = log_probabilities(model, ids)
    expected = sum(log_p[at - 1, ids[at]] for at in range(1, len(ids)))
    assert model.loglikelihood_rolling([Request(text)]) == [pytest.approx(expected, rel=1e-4)]


@needs_lm_eval
def test_long_texts_go_in_windows_and_long_contexts_lose_their_beginning(model: Any) -> None:
    text = "the water on the mountain boils " * 60
    assert len(model.tokenizer.encode(text)) > model.max_length
    assert model.loglikelihood_rolling([Request(text)])[0] < 0
    ((value, _),) = model.loglikelihood([Request(text, " at a lower")], disable_tqdm=True)
    assert math.isfinite(value)
    assert len(model.generate_until([Request(text, {"until": [], "max_gen_toks": 4})])) == 1


@needs_lm_eval
def test_generation_is_greedy_and_stops(model: Any) -> None:
    (whole,) = model.generate_until([Request("the water", {"until": [], "max_gen_toks": 12})])
    ids = model.tokenizer.encode("the water")
    for _ in range(12):
        following = int(log_probabilities(model, ids)[-1].argmax())
        if following in model._loaded.stop_tokens:
            break
        ids.append(following)
    assert whole == model.tokenizer.decode(ids[len(model.tokenizer.encode("the water")) :])
    stop = whole[3:5]
    (cut,) = model.generate_until([Request("the water", {"until": stop, "max_gen_toks": 12})])
    assert cut == whole[: whole.index(stop)]


TASK = """task: boiling
dataset_path: json
dataset_kwargs:
  data_files: {file}
test_split: train
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_target: answer
doc_to_choice: choices
metric_list:
  - metric: acc
"""


@needs_lm_eval
def test_a_task_of_ones_own_runs_from_the_command_line(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rows = [{"question": "the water", "choices": ["boils", "mountain"], "answer": at % 2} for at in range(6)]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    (tasks / "boiling.yaml").write_text(TASK.format(file=tmp_path / "data.jsonl"))
    words = f"eval {source} --tasks boiling --task-directory {tasks} --limit 4 --json"
    assert main(words.split()) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["model"] == "tiny"
    (score,) = said["tasks"]
    assert (score["task"], score["metric"], score["examples"]) == ("boiling", "acc", 4)
    assert score["value"]["value"] == 0.5  # the same question, answered alternately
