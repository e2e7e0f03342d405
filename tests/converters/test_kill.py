"""A conversion that is killed leaves nothing half-made, and the rerun succeeds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from checkpoints import write_checkpoint
from waiting import PATIENCE_S

import edgelm
from edgelm_converters.convert import convert

pytestmark = pytest.mark.fault

STEP = """
import sys, time
from pathlib import Path
from edgelm_converters.convert import convert

def report(progress):
    # Time enough for a signal between any two tensors.
    print(progress.task, progress.detail, flush=True)
    time.sleep(0.02)

convert(sys.argv[1], sys.argv[2], quality="rtn", bits=4, group_size=32, on_progress=report)
"""


@pytest.fixture(scope="module")
def big_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("kill") / "source"
    write_checkpoint(directory, num_hidden_layers=4)
    return directory


def run_until(line: int, source: Path, output: Path, number: int) -> int:
    """Send `number` once the conversion has reported `line` times; returns its exit status."""
    process = subprocess.Popen(
        [sys.executable, "-c", STEP, str(source), str(output)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    for _ in range(line):
        process.stdout.readline()
    os.kill(process.pid, number)
    process.stdout.close()
    return process.wait(timeout=PATIENCE_S)


def test_sigkill_at_any_tensor_leaves_no_model_and_the_rerun_succeeds(
    big_source: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    for line in (1, 3, 20, 50):
        assert run_until(line, big_source, output, signal.SIGKILL) == -signal.SIGKILL
        assert not output.exists()
    assert any(path.name.startswith(".out.partial-") for path in tmp_path.iterdir())
    convert(big_source, output, quality="rtn", bits=4, group_size=32)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with edgelm.load(output, check_fit=False) as model:
        assert model.generate([5, 6, 7], max_tokens=3).usage.completion_tokens >= 1


def test_ctrl_c_cleans_up_after_itself(big_source: Path, tmp_path: Path) -> None:
    assert run_until(10, big_source, tmp_path / "out", signal.SIGINT) != 0
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_leaves_nothing(big_source: Path, tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands in for a full disk: the write fails in the middle."""
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        "from edgelm.cli.main import main; sys.exit(main(['convert', *sys.argv[1:]]))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(big_source), "-o", str(tmp_path / "out"), "--group-size", "32", "--quality", "rtn"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    assert "cannot write" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == []
