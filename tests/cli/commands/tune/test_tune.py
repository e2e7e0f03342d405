"""`edgelm tune`, `edgelm runs` and `edgelm adapters` as they are typed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from checkpoints import write_checkpoint
from tuning import write_chats
from waiting import PATIENCE_S

from edgelm import paths
from edgelm.cli.commands.tune.flags import parse_time
from edgelm.cli.main import main
from edgelm.errors import OptionError

FLAGS = [
    "--steps", "6", "--batch-tokens", "128", "--no-compiled", "--learning-rate", "0.01", "--answer-tokens", "4",
    "--prompt", "what is 7", "--validate-every", "3",
]  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("base") / "model"
    write_checkpoint(directory, num_hidden_layers=2)
    return str(directory)


@pytest.fixture
def data(tmp_path: Path) -> str:
    return str(write_chats(tmp_path / "chats.jsonl"))


@pytest.mark.slow
def test_a_run_from_beginning_to_peft(
    base: str, data: str, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chart = tmp_path / "loss.png"
    assert main(["tune", base, "--data", data, *FLAGS, "--name", "style", "--plot", str(chart)]) == 0
    said = capsys.readouterr()
    assert f"adapter\t{paths.adapters() / 'style'}" in said.out
    assert "validation\t" in said.out
    assert "what is 7 →" in said.err
    assert f"edgelm chat {base} --adapter style" in said.err
    assert chart.stat().st_size > 1000
    assert (paths.runs() / "style" / "loss.svg").exists()

    assert main(["runs"]) == 0
    assert "finished" in capsys.readouterr().out
    assert main(["runs", "show", "style"]) == 0
    assert "settings.learning_rate\t0.01" in capsys.readouterr().out
    assert main(["runs", "plot", "sty", "-o", str(tmp_path / "runs.svg")]) == 0
    assert main(["adapters"]) == 0
    assert "style" in capsys.readouterr().out
    assert main(["adapters", "info", "style"]) == 0
    assert "base: model" in capsys.readouterr().out
    peft = str(tmp_path / "peft")
    assert main(["adapters", "export", "style", "-o", peft]) == 0
    assert main(["adapters", "import", peft, "--model", base, "--name", "back"]) == 0
    assert main(["runs", "delete", "style", "--yes"]) == 0
    assert not (paths.runs() / "style").exists()
    assert (paths.adapters() / "style").exists()


@pytest.mark.slow
def test_json_lines_and_runs_side_by_side(
    base: str, data: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", base, "--data", data, *FLAGS, "--name", "one", "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events][:2] == ["started", "validated"]
    assert events[-1]["event"] == "ended"
    assert main(["tune", base, "--data", data, *FLAGS, "--name", "two", "--rank", "4"]) == 0
    capsys.readouterr()
    assert main(["runs", "show", "one", "two"]) == 0
    out = capsys.readouterr().out
    assert "rank" in out
    assert "batch_tokens" not in out, "only what differs"
    assert main(["runs", "show", "one", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["run"]["status"] == "finished"


@pytest.mark.fault
def test_sigint_stops_with_a_checkpoint_and_resume_goes_on(base: str, data: str, home: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "edgelm",
        "tune",
        base,
        "--data",
        data,
        *FLAGS,
        "--steps",
        "5000",
        "--name",
        "long",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [*command, "--json"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if '"stepped"' in line:
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, err
    assert json.loads(out.splitlines()[-1])["reason"] == "stopped"
    assert "edgelm tune --resume long goes on" in err
    assert list((paths.runs() / "long" / "checkpoints").glob("step-*"))


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["tune"], 2, "MODEL and --data are needed"),
        (["tune", "{base}", "--data", "nowhere.jsonl"], 1, "nowhere.jsonl"),
        (["tune", "{base}", "--data", "{data}", "--for", "soon"], 2, "the time is 'soon'"),
        (["tune", "{base}", "--data", "{data}", "--epochs", "1", "--steps", "3"], 2, "given together"),
        (["tune", "{base}", "--data", "{data}", "--pause-on", "rain"], 2, "--pause-on is 'rain'"),
        (["tune", "{base}", "--data", "{data}", "--targets", "q_prj"], 2, "'q_prj' matches no module"),
        (["tune", "{base}", "--data", "{data}", "--rank-of", "x"], 2, "expected PATTERN=RANK"),
        (["tune", "{base}", "--data", "{data}", "--rank", "0"], 2, "rank is 0"),
        (["tune", "{base}", "--data", "{data}", "--report-to", "papyrus"], 2, "--report-to is 'papyrus'"),
        (["tune", "{base}", "--data", "{data}", "--report-to", "trackio"], 2, "trackio is not installed"),
        (["tune", "{base}", "--data", "{data}", "--plot", "loss.gif"], 2, ".svg or .png"),
        (["tune", "--resume", "nothing"], 1, "there are no runs"),
        (["tune", "{base}", "--resume"], 2, "cannot be given with it"),
        (["runs", "show", "x"], 1, "no run is named 'x'"),
        (["adapters", "info", "x"], 1, "no adapter 'x'"),
        (["adapters", "merge", "x", "y", "-o", "z"], 1, "no adapter 'x'"),
    ],
)
def test_what_is_refused(
    argv: list[str],
    code: int,
    words: str,
    base: str,
    data: str,
    home: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([word.format(base=base, data=data) for word in argv]) == code
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "seconds"), [("3h", 10800), ("45m", 2700), ("1h30m", 5400), ("90s", 90), ("0.5h", 1800)]
)
def test_times(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "3", "h", "3h5", "3 hours"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(OptionError):
        parse_time(text)
