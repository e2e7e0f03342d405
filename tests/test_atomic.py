"""Writes are whole or not there."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgelm.atomic import atomic_directory, atomic_write, disk_errors
from edgelm.errors import OutputError
from edgelm.processes import tag_of


def test_a_block_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_directory(tmp_path / "a" / "out") as directory:
        (directory / "half").write_text("x")
        raise ZeroDivisionError
    assert list((tmp_path / "a").iterdir()) == []


def test_an_existing_target_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match="already exists"), atomic_directory(tmp_path / "out"):
        pytest.fail("entered")
    assert (tmp_path / "out").read_text() == "mine"


def test_a_target_that_appears_meanwhile_wins(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="already exists"), atomic_directory(tmp_path / "out") as directory:
        (directory / "file").write_text("ours")
        (tmp_path / "out").mkdir()
    assert list((tmp_path / "out").iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["out", "a[b]", "*?[!x]"])
def test_leftovers_of_dead_writers_go_and_of_living_ones_stay(name: str, tmp_path: Path) -> None:
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    )
    dead = tmp_path / f".{name}.partial-{gone.stdout.strip()}"
    alive = tmp_path / f".{name}.partial-{os.getppid()}"
    another = tmp_path / f".ab{name}.partial-{gone.stdout.strip()}"
    alike = (
        tmp_path / f".ab.partial-{gone.stdout.strip()}"
    )  # a name that `a[b]` and `*?[!x]` match as patterns
    for directory in (dead, alive, another, alike):
        directory.mkdir()
    with atomic_directory(tmp_path / name):
        pass
    assert not dead.exists()
    assert alive.exists()
    assert another.exists()
    assert alike.exists()


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    atomic_write(tmp_path / "note", "one")
    atomic_write(tmp_path / "note", "zwei ü")
    assert (tmp_path / "note").read_text(encoding="utf-8") == "zwei ü"
    assert [path.name for path in tmp_path.iterdir()] == ["note"]


def test_a_full_disk_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No space left") as caught, disk_errors(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.hint == "free some space and run the command again"


def test_what_was_left_before_a_reboot_goes_though_its_number_lives_again(tmp_path: Path) -> None:
    """The parent lives, but it is not what left the directory."""
    stale = tmp_path / f".out.partial-{os.getppid()}-00000000"
    living = tmp_path / f".out.partial-{os.getppid()}-{tag_of(os.getppid())}"
    for directory in (stale, living):
        directory.mkdir()
    with atomic_directory(tmp_path / "out"):
        pass
    assert not stale.exists()
    assert living.exists()
