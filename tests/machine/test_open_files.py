"""The limit of open files is raised as far as the system lets it, and never lowered."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

from edgelm.machine import open_files
from edgelm.machine.open_files import raise_open_files

INFINITE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ((256, INFINITE), (8192, INFINITE)),  # macOS
        ((256, 4096), (4096, 4096)),
        ((1024, 524_288), (8192, 524_288)),
        ((8192, 8192), None),
        ((100_000, INFINITE), None),
        ((INFINITE, INFINITE), None),
    ],
)
def test_the_soft_limit(
    limits: tuple[int, int], expected: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(open_files.resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(open_files.resource, "setrlimit", lambda _, to: asked.append(to))
    assert raise_open_files() == limits[0]
    assert asked == ([] if expected is None else [expected])


def test_a_system_that_refuses_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(open_files.resource, "getrlimit", lambda _: (256, INFINITE))
    monkeypatch.setattr(open_files.resource, "setrlimit", refuse)
    assert raise_open_files() == 256


def test_the_command_line_raises_it() -> None:
    code = (
        "import resource, sys; hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1];"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard)); sys.argv = ['edgelm', '--version'];"
        "import atexit; atexit.register(lambda: print(resource.getrlimit(resource.RLIMIT_NOFILE)[0]));"
        "from edgelm.cli.main import run; run()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert int(said.stdout.split()[-1]) == (8192 if hard == INFINITE else min(hard, 8192))
