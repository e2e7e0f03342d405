"""Ctrl-C while a model loads: heard at once, by a real process whose load does not end by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import PATIENCE_S

SLOW = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
import edgelm
from edgelm.runtime import assemble, worker
worker._CLOSE_S = 86_400  # whoever waits for the load, waits for good

def load(*_, **__):
    print("begun", file=sys.stderr, flush=True)
    time.sleep(86_400)

assemble.load = load
"""
COMMAND = "from edgelm.cli.main import run; run()"


def start(tail: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen(
        [sys.executable, "-c", SLOW + tail, *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    assert child.stderr is not None
    while (line := child.stderr.readline()) != "begun\n":
        assert line, "it ended before it began to load"
    return child


@pytest.fixture
def directory(tmp_path: Path) -> str:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"")
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "a"}\n')
    return str(tmp_path / "model")


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_chat(directory: str, home: Path, times: int) -> None:
    child = start(COMMAND, "chat", directory, "-p", "hello")
    for _ in range(times):
        child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=PATIENCE_S)
    assert (child.returncode, out) == (130, "")
    assert "Traceback" not in err


@pytest.mark.slow
def test_generate(directory: str, home: Path, tmp_path: Path) -> None:
    files = ("--input", str(tmp_path / "prompts.jsonl"), "--output", str(tmp_path / "answers.jsonl"))
    child = start(COMMAND, "generate", directory, *files)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 130
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_script_ends_as_python_ends_one(directory: str, home: Path) -> None:
    child = start("edgelm.load(sys.argv[1])", directory)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == -signal.SIGINT
    assert err.endswith("KeyboardInterrupt\n")
