"""The wheel in environments with nothing else in them: what is in it, and that it runs from another folder.

Slow, and needs the package index; pip's own cache makes a second run quick.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from checkpoints import write_checkpoint

ROOT = Path(__file__).parents[2]
SOURCES = {
    "edgelm": ROOT / "edgelm",
    "edgelm_tui": ROOT / "tui/edgelm_tui",
    "edgelm_converters": ROOT / "converters/edgelm_converters",
}

pytestmark = [pytest.mark.install, pytest.mark.timeout(900)]


def done(*command: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user's shell would: without this process's Python, its paths and its settings."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "VIRTUAL_ENV", "EDGELM", "PYTEST"))
    }
    said = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**kept, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, f"{command}: {said.stdout[-2000:]}\n{said.stderr[-4000:]}"
    return said


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("dist")
    done(
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", target, ROOT, cwd=target
    )
    return next(target.glob("edgelm-*.whl"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a fresh environment with the wheel and what it asks for, made by pipx, whose pip installs it."""
    place = tmp_path_factory.mktemp("pipx")
    python = tool(place, "pipx")
    variables = {"PIPX_HOME": str(place / "home"), "PIPX_BIN_DIR": str(place / "commands")}
    done(python, "-m", "pipx", "install", wheel, cwd=place, **variables)
    assert done(place / "commands/edgelm", "--version", cwd=place).stdout.startswith("edgelm ")
    return place / "home/venvs/edgelm/bin"


def tool(place: Path, name: str) -> Path:
    """The Python of an environment with the tool `name` alone."""
    done(sys.executable, "-m", "venv", place / "tool", cwd=place)
    done(place / "tool/bin/python", "-m", "pip", "install", "--quiet", name, cwd=place)
    return place / "tool/bin/python"


def test_everything_in_the_packages_is_in_the_wheel(wheel: Path) -> None:
    """Stylesheets, shipped texts, the markers of types; nothing of the tests."""
    held = set(zipfile.ZipFile(wheel).namelist())
    for package, directory in SOURCES.items():
        expected = {
            f"{package}/{path.relative_to(directory).as_posix()}"
            for path in directory.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert f"{package}/py.typed" in expected
        assert expected <= held
    assert any(name.endswith("licenses/LICENSE") for name in held)
    assert {name.split("/")[0].partition("-")[0] for name in held} == set(SOURCES)


def test_it_runs_from_anywhere_without_the_extras(installed: Path, tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    assert done(installed / "edgelm", "--version", cwd=tmp_path).stdout.startswith("edgelm ")
    assert "convert" in done(installed / "edgelm", "--help", cwd=tmp_path).stdout
    names = "edgelm, edgelm_tui, edgelm_tui.app, edgelm_converters, edgelm_converters.convert"
    where = done(
        installed / "python", "-c", f"import {names}; print(edgelm.__file__)", cwd=tmp_path
    ).stdout.strip()
    assert Path(where).is_relative_to(installed.parent)
    checked = done(installed / "edgelm", "doctor", cwd=tmp_path, EDGELM_HOME=home).stdout
    assert "EDGELM_HOME" in checked
    names = "from importlib.metadata import distributions as d; print(*{x.name.lower() for x in d()})"
    listed = done(installed / "python", "-c", names, cwd=tmp_path).stdout.split()
    assert "mlx-lm" in listed
    assert not {"torch", "pytest", "datasets", "pyarrow"} & set(listed)


def test_a_model_is_converted_and_answers(installed: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    write_checkpoint(source)
    environment = {"EDGELM_HOME": str(tmp_path / "home")}
    done(
        installed / "edgelm", "convert", source, "-o", tmp_path / "tiny 4bit", "--quality", "rtn", cwd=tmp_path,
        **environment,
    )  # fmt: skip
    said = done(
        installed / "edgelm", "chat", tmp_path / "tiny 4bit", "-p", "hello", "--max-tokens", "4", "--json",
        cwd=tmp_path, **environment,
    )  # fmt: skip
    assert said.stdout.strip()


def test_uv_installs_the_command_from_this_checkout(tmp_path: Path) -> None:
    python = tool(tmp_path, "uv")
    variables = {"UV_TOOL_DIR": str(tmp_path / "tools"), "UV_TOOL_BIN_DIR": str(tmp_path / "commands")}
    done(python.parent / "uv", "tool", "install", "--python", sys.executable, ROOT, cwd=tmp_path, **variables)
    command = tmp_path / "commands/edgelm"
    assert done(command, "--version", cwd=tmp_path).stdout.startswith("edgelm ")
    assert "backend" in done(command, "doctor", cwd=tmp_path, EDGELM_HOME=str(tmp_path / "home")).stdout
