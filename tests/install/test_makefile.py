"""`make` on a fresh machine: which Python it takes, what it does without one, and folders whose names have spaces.

The Pythons are stand-ins that write down what they are asked, so that nothing is installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = (
    "sh", "make", "uname", "dirname", "find", "head", "rm", "mkdir", "cp", "touch", "test", "cat", "id", "grep", "env", "echo",
)  # fmt: skip

PYTHON = """#!/bin/sh
# A stand-in for Python {version}.
echo "{version} $*" >> "{log}"
case "$1 $2" in
    *version_info*) exit {code} ;;
    *python_version*) echo "Python {version} arm64" ;;
    "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && cp "{edgelm}" "$3/bin/edgelm" ;;
esac
"""


class Machine:
    """A checkout in a folder whose name has spaces and more, and a PATH with nothing but what make needs."""

    def __init__(self, root: Path) -> None:
        self.checkout = root / "My Models $HOME 'x' (2)" / "edgelm main"
        self.bin, self.log = root / "bin", root / "asked"
        self.bin.mkdir()
        for name in TOOLS:
            found = shutil.which(name, path="/usr/bin:/bin")
            assert found is not None, name
            (self.bin / name).symlink_to(found)
        shutil.copytree(ROOT / "scripts", self.checkout / "scripts")
        for name in ("edgelm", "tui", "converters"):
            (self.checkout / name).mkdir()
        for name in ("Makefile", "pyproject.toml", "README.md"):
            shutil.copy(ROOT / name, self.checkout / name)
        self.edgelm = root / "edgelm-command"
        self.edgelm.write_text(f'#!/bin/sh\necho "edgelm $* in $EDGELM_HOME" >> "{self.log}"\n')
        self.edgelm.chmod(0o755)

    def has(self, name: str, version: str, directory: Path | None = None) -> Path:
        code = 0 if tuple(map(int, version.split("."))) >= (3, 11) else 1
        path = (directory or self.bin) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PYTHON.format(version=version, log=self.log, code=code, edgelm=self.edgelm))
        path.chmod(0o755)
        return path

    def make(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.bin), "HOME": str(self.checkout.parent), "LC_ALL": "C"}
        return subprocess.run(
            ["make", *words], cwd=self.checkout, env=environment, capture_output=True, text=True, check=False
        )

    @property
    def asked(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def did(self, words: str) -> list[str]:
        return [line for line in self.asked if words in line]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    if shutil.which("make", path="/usr/bin:/bin") is None:
        pytest.skip("no make")
    return Machine(tmp_path)


def test_the_python_of_apples_command_line_tools_is_too_old_and_what_to_install_is_named(
    machine: Machine,
) -> None:
    machine.has("python3", "3.9.6")
    said = machine.make("demo")
    assert said.returncode != 0
    assert "needs Python 3.11 or later" in said.stderr
    assert "Python 3.9.6" in said.stderr
    assert "uv python install" in said.stderr
    assert not (machine.checkout / ".venv").exists()


def test_no_python_at_all_is_said_the_same_way(machine: Machine) -> None:
    said = machine.make("demo")
    assert said.returncode != 0
    assert "needs Python 3.11 or later" in said.stderr


@pytest.mark.parametrize("name", ["python3.14", "python3.13", "python3.11", "python"])
def test_a_newer_python_beside_it_is_found(machine: Machine, name: str) -> None:
    machine.has("python3", "3.9.6")
    machine.has(name, "3.12.1")
    said = machine.make("demo")
    assert said.returncode == 0, said.stderr
    assert machine.did("3.12.1 -m venv .venv")
    assert machine.did("edgelm convert smollm2 in .demo")
    assert machine.did("edgelm chat smollm2-135m-instruct-4bit")


def test_the_newest_goes_first_and_uv_is_asked_last(machine: Machine) -> None:
    machine.has("python3", "3.9.6")
    of_uv = machine.has("python3.12", "3.12.0", machine.checkout.parent / "uv pythons")
    uv = machine.bin / "uv"
    uv.write_text(f'#!/bin/sh\necho "{str(of_uv).replace("$", chr(92) + "$")}"\n')
    uv.chmod(0o755)
    assert machine.make("demo").returncode == 0
    assert machine.did("3.12.0 -m venv")
    shutil.rmtree(machine.checkout / ".venv")
    machine.has("python3.11", "3.11.9")
    machine.has("python3.13", "3.13.2")
    assert machine.make("demo").returncode == 0
    assert machine.did("3.13.2 -m venv")
    assert not machine.did("3.11.9 -m venv")


def test_a_venv_of_an_old_python_is_made_again(machine: Machine) -> None:
    """As `make demo` left it before a newer Python came."""
    machine.has("python", "3.9.6", machine.checkout / ".venv" / "bin")
    (machine.checkout / ".venv" / "old").write_text("")
    machine.has("python3", "3.13.0")
    said = machine.make("demo")
    assert said.returncode == 0, said.stderr
    assert "again" in said.stdout
    assert not (machine.checkout / ".venv" / "old").exists()
    assert machine.did("-m pip install --quiet .")


def test_a_venv_whose_python_is_gone_is_made_again(machine: Machine) -> None:
    (machine.checkout / ".venv" / "bin").mkdir(parents=True)
    (machine.checkout / ".venv" / "bin" / "python").symlink_to(machine.checkout / "removed")
    machine.has("python3", "3.13.0")
    assert machine.make("demo").returncode == 0


def test_users_get_no_editable_install_and_developers_do(machine: Machine) -> None:
    machine.has("python3", "3.13.0")
    assert machine.make("demo").returncode == 0
    assert machine.did("-m pip install --quiet .")
    assert not machine.did("--editable")
    assert machine.make("setup").returncode == 0
    assert machine.did("-m pip install --quiet --editable .[test,dev]")
    before = len(machine.did("-m pip install"))
    assert machine.make("demo").returncode == 0
    assert machine.make("setup").returncode == 0
    assert len(machine.did("-m pip install")) == before, "nothing is installed twice"


def test_a_user_gets_what_has_changed_since(machine: Machine) -> None:
    machine.has("python3", "3.13.0")
    assert machine.make("demo").returncode == 0
    stamp = machine.checkout / ".venv" / ".installed-user"
    os.utime(stamp, (1, 1))
    assert machine.make("demo").returncode == 0
    assert len(machine.did("-m pip install --quiet .")) == 2


def test_a_python_that_is_named_is_taken_and_no_other(machine: Machine) -> None:
    machine.has("python3", "3.13.0")
    mine = machine.has("python-of-mine", "3.11.2", machine.checkout.parent / "other place")
    del mine
    assert machine.make("demo", "PYTHON=../other place/python-of-mine").returncode == 0
    assert machine.did("3.11.2 -m venv")
    shutil.rmtree(machine.checkout / ".venv")
    assert machine.make("demo", "PYTHON=python3.9").returncode != 0


def test_clean_removes_what_is_in_this_folder_and_nothing_else(machine: Machine) -> None:
    said = machine.make("-n", "clean")
    assert said.stdout.split() == ["rm", "-rf", ".venv", ".demo"]
    (machine.checkout / ".demo").mkdir()
    beside = machine.checkout.parent / "My"
    beside.mkdir()
    assert machine.make("clean").returncode == 0
    assert not (machine.checkout / ".demo").exists()
    assert beside.exists()


@pytest.mark.parametrize(
    "target", ["help", "system", "setup", "demo", "test", "check", "bench", "docs", "fix"]
)
def test_no_command_names_the_folder(machine: Machine, target: str) -> None:
    """An absolute path would have to be quoted everywhere, and cannot be a target of make."""
    said = machine.make("-n", target)
    assert said.returncode == 0, said.stderr
    assert "My Models" not in said.stdout
