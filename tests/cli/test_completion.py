"""What a shell is told may come next, asked as argcomplete's scripts ask."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgelm import paths
from edgelm.cli.main import main
from edgelm.cli.table import COMMANDS


@pytest.fixture(autouse=True)
def library(home: Path) -> None:
    for directory in (
        paths.models() / "qwen-4bit",
        paths.models() / ".removed-x",
        paths.adapters() / "style",
        paths.runs() / "r1",
    ):
        directory.mkdir(parents=True)


def complete(line: str, tmp_path: Path) -> set[str]:
    """What a shell gets for `line`."""
    answer = tmp_path / "answer"
    asked = {
        "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_SUPPRESS_SPACE": "1", "COMP_TYPE": "9",
        "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }  # fmt: skip
    script = "import sys; from edgelm.cli.main import run; sys.argv = ['edgelm']\ntry: run()\nfinally:\n"
    script += "    heavy = {'mlx', 'mlx_lm', 'transformers', 'textual', 'numpy', 'huggingface_hub'} & set(sys.modules)\n"
    script += "    assert not heavy, heavy"
    subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **asked}, check=False, capture_output=True
    )
    return set(answer.read_text().split("\n"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("edgelm ", {command.name for command in COMMANDS} | {"ls", "rm"}),
        ("edgelm chat ", {"qwen-4bit"}),
        ("edgelm chat --adapter ", {"style"}),
        ("edgelm models rename ", {"qwen-4bit"}),
        ("edgelm rm ", {"qwen-4bit"}),
        ("edgelm adapters remove ", {"style"}),
        ("edgelm runs show ", {"r1"}),
        ("edgelm tune --resume ", {"r1"}),
        ("edgelm models re", {"remove", "rename"}),
        ("edgelm convert x --mode ", {"affine", "mxfp4"}),
        ("edgelm chat --temp", {"--temperature"}),
    ],
)
def test_what_may_come_next(line: str, expected: set[str], tmp_path: Path) -> None:
    found = complete(line, tmp_path)
    assert expected <= found
    assert ".removed-x" not in found


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_lines_for_a_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "_ARGCOMPLETE" in capsys.readouterr().out


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "basch"]) == 2
    assert "did you mean 'bash'?" in capsys.readouterr().err
