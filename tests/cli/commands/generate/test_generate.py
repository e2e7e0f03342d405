"""`edgelm generate`, with a scripted model: every prompt is answered once, whatever stops the run."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from adapter_files import write_adapter_named
from fake_api import FakeApi
from waiting import PATIENCE_S, wait_for

from edgelm.cli.commands.generate.answer_file import AnswerFile
from edgelm.cli.main import main
from edgelm.errors import OutputError

FAKE_API = Path(__file__).parents[3] / "support" / "fake_api.py"


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_prompts(*rows: dict[str, Any], name: str = "in.jsonl") -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def prompts(count: int) -> list[dict[str, Any]]:
    return [{"id": f"row {at}", "prompt": f"prompt {at}"} for at in range(count)]


def generate(*flags: str) -> int:
    return main(["generate", "tiny", "--input", "in.jsonl", "--output", "out.jsonl", *flags])


def answers() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]


def ids() -> list[Any]:
    return [answer["id"] for answer in answers()]


def test_every_row_is_answered(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    write_prompts({"id": "a", "prompt": "x"}, {"prompt": "fail", "meta": 7})
    assert generate("--temperature", "0.5") == 1
    first, second = answers()
    run = first["run"]
    assert first == {
        "id": "a",
        "text": "You said: x",
        "reason": "stop",
        "usage": {"prompt_tokens": 10, "cached_tokens": 4, "completion_tokens": 3},
        "error": None,
        "run": run,
        "prompt": first["prompt"],
    }
    error = {"kind": "PromptError", "message": "the prompt is bad", "hint": "say less"}
    assert second == {
        "id": 2, "text": None, "reason": None, "usage": None, "error": error, "meta": 7, "run": run,
        "prompt": second["prompt"],
    }  # fmt: skip
    assert "1 of 2 prompts failed" in capsys.readouterr().err
    assert api.models[0].asked[0]["temperature"] == 0.5
    assert api.models[0].closed


def test_bad_rows_are_listed_before_a_model_is_loaded(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    write_prompts({"prompt": "x"}, {"promt": "x"}, {"prompt": "x", "top_p": 2})
    assert generate() == 1
    said = capsys.readouterr().err
    assert "2 rows of in.jsonl cannot be asked" in said
    assert "line 2: there is no setting 'promt'" in said
    assert "line 3: top_p is 2" in said
    assert api.loads == []
    assert not Path("out.jsonl").exists()
    assert generate("--skip-bad") == 0
    assert ids() == [1]


@pytest.mark.parametrize(
    ("flags", "reason"), [(["--temperature", "-1"], "temperature"), (["--rows", "0"], "rows is 0")]
)
def test_bad_settings_are_refused_first(
    api: FakeApi, capsys: pytest.CaptureFixture[str], flags: list[str], reason: str
) -> None:
    assert generate(*flags) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name_of_a_model_is_refused(
    name: str, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    write_prompts({"prompt": "x"})
    assert main(["generate", name, "--input", "in.jsonl", "--output", "out.jsonl"]) == 2
    assert "MODEL is empty" in capsys.readouterr().err
    assert not api.loads


def test_answers_that_are_there_are_not_asked_again(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    write_prompts(*prompts(2))
    assert generate() == 0
    write_prompts(*prompts(5))
    assert generate() == 0
    assert ids() == [f"row {at}" for at in range(5)]
    assert len(api.models[1].asked) == 1 + 3
    assert "2 of 5 prompts are answered already" in capsys.readouterr().err
    assert generate() == 0
    assert len(api.loads) == 2


def test_a_torn_line_is_removed(api: FakeApi) -> None:
    write_prompts(*prompts(3))
    generate()
    whole = Path("out.jsonl").read_bytes()
    for cut in (1, 3, 40):
        Path("out.jsonl").write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 1 + cut])
        assert generate() == 0
        assert Path("out.jsonl").read_bytes() == whole


@pytest.mark.parametrize("content", ["notes", '{"id": 1, "prompt": "x"}\n', "\n", '{"id": 1}', "[1]\n"])
def test_a_file_of_something_else_is_left_alone(
    api: FakeApi, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    write_prompts(*prompts(1))
    Path("out.jsonl").write_text(content)
    code = generate()
    if content == '{"id": 1}':  # what a killed run might leave of a line
        assert code == 0
    else:
        assert code == 1
        assert "is not an answer of edgelm generate" in capsys.readouterr().err
        assert Path("out.jsonl").read_text() == content


def test_input_and_output_are_two_files(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    write_prompts(*prompts(1), name="out.jsonl")
    Path("in.jsonl").symlink_to("out.jsonl")
    assert generate() == 2
    assert "--input and --output are both" in capsys.readouterr().err


def test_the_form_of_the_answers(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    write_prompts(*prompts(1))
    Path("schema.json").write_text('{"type": "boolean"}')
    assert generate("--schema", "schema.json") == 0
    assert api.models[0].asked[0]["grammar"].kind == "schema"
    assert generate("--schema", "nowhere.json") == 1
    assert "nowhere.json does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags", [["--temperature", "1"], ["--max-tokens", "5"], ["--stop", "x"], ["--regex", "[0-9]+"]]
)
def test_runs_are_not_mixed(api: FakeApi, capsys: pytest.CaptureFixture[str], flags: list[str]) -> None:
    write_prompts(*prompts(1))
    generate()
    write_prompts(*prompts(2))
    assert generate(*flags) == 1
    assert "another model, adapter or setting" in capsys.readouterr().err
    assert generate(*flags, "--force") == 0
    first, second = answers()
    assert first["run"] != second["run"]


def test_adapters_are_named_and_are_part_of_the_run(
    home: Path, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    for at, name in enumerate(("mine", "yours")):
        write_adapter_named(name, value=at)
    write_prompts(*prompts(1))
    assert generate("--adapter", "mine=0.5", "--adapter", "yours") == 0
    assert api.loads[0]["adapter"] == ["mine=0.5", "yours"]
    write_prompts(*prompts(2))
    assert generate("--adapter", "mine=0.5", "--adapter", "yours") == 0
    runs = [row["run"] for row in answers()]
    assert runs[0] == runs[1]
    write_prompts(*prompts(3))
    capsys.readouterr()
    for others in (["yours"], ["mine", "yours"], ["yours", "mine=0.5"], []):
        assert generate(*(word for name in others for word in ("--adapter", name))) == 1
        assert "another model, adapter or setting" in capsys.readouterr().err
    assert len(api.loads) == 2


@pytest.mark.parametrize(
    ("adapter", "reason"),
    [
        ("mime", "no adapter 'mime'"), ("mine=much", "is 'much', expected a finite number"),
        ("stranger", "was trained on another"),
    ],
)  # fmt: skip
def test_an_adapter_that_cannot_be_used_is_refused_before_a_model_is_loaded(
    adapter: str, reason: str, home: Path, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    write_adapter_named("mine")
    write_adapter_named("stranger", base_sha256="0" * 64)
    write_prompts(*prompts(1))
    assert generate("--adapter", "mine", "--adapter", adapter) != 0
    said = capsys.readouterr().err
    assert reason in said
    assert adapter != "mime" or "did you mean mine?" in said
    assert not api.loads
    assert not Path("out.jsonl").exists()


def test_another_model_is_another_run(api: FakeApi) -> None:
    write_prompts(*prompts(1))
    generate()
    assert main(["generate", "other", "--input", "in.jsonl", "--output", "out.jsonl"]) == 1


def test_another_prompt_of_an_answered_id_is_refused(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    write_prompts(*prompts(1))
    generate()
    write_prompts({"id": "row 0", "prompt": "changed"})
    assert generate() == 1
    assert "line 1 of out.jsonl answers another prompt than line 1 of the input" in capsys.readouterr().err
    write_prompts({"id": "row 0", "prompt": "prompt 0"})
    assert generate("--system", "Be brief.", "--chat") == 1


def test_failed_prompts_are_asked_again_on_demand(api: FakeApi) -> None:
    write_prompts({"prompt": "fail"}, {"prompt": "x"})
    assert generate() == 1
    Path("repaired").touch()
    assert generate() == 0
    assert answers()[0]["error"] is not None
    assert generate("--retry-failed") == 0
    assert [(answer["id"], answer["error"]) for answer in answers()] == [(2, None), (1, None)]


@pytest.mark.slow
def test_stdin_and_stdout(edgelm: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = edgelm("generate", "tiny", "--input", "-", "--output", "-", stdin='{"prompt": "x"}\n')
    assert done.returncode == 0
    assert json.loads(done.stdout)["text"] == "You said: x"


def test_one_process_writes_at_a_time(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    write_prompts(*prompts(1))
    with Path("out.jsonl").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert generate() == 1
    assert "another process writes to out.jsonl" in capsys.readouterr().err


@pytest.mark.fault
def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {"id": 1, "error": None, "run": "r", "prompt": "p"}
    real = os.write
    with AnswerFile(tmp_path / "out") as file:
        file.write(answer)

        def full(handle: int, data: bytes) -> int:
            if len(data) < 40:
                raise OSError(28, "No space left on device")
            return real(handle, data[:30])

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(OutputError, match="No space left"):
            file.write({**answer, "id": 2})
    assert (tmp_path / "out").read_text() == json.dumps(answer) + "\n"


def start(delay_s: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "FAKE_DELAY_S": delay_s}
    command = [
        sys.executable,
        str(FAKE_API),
        "generate",
        "tiny",
        "--input",
        "in.jsonl",
        "--output",
        "out.jsonl",
    ]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def wait_for_answers(count: int) -> None:
    file = Path("out.jsonl")
    wait_for(lambda: file.exists() and len(file.read_bytes().splitlines()) >= count, f"{count} answers")


@pytest.mark.fault
def test_a_killed_run_goes_on(api: FakeApi) -> None:
    write_prompts(*prompts(12))
    process = start("0.1")
    wait_for_answers(2)
    process.kill()
    process.wait()
    there = len(answers())
    assert 2 <= there < 12
    assert generate() == 0
    assert ids() == [f"row {at}" for at in range(12)]
    assert len(api.models[0].asked) == 1 + 12 - there


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(api: FakeApi) -> None:
    write_prompts(*prompts(12))
    process = start("0.1")
    wait_for_answers(2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "stopped after" in said
    assert "the same command goes on" in said
    assert generate() == 0
    assert ids() == [f"row {at}" for at in range(12)]
