"""A home that cannot be written: answers come all the same, what is lost is said once, and paths are named."""

from __future__ import annotations

import errno
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_api import FakeApi

from edgelm import paths
from edgelm.atomic import atomic_directory
from edgelm.blas import row_products
from edgelm.cli.commands import data
from edgelm.cli.main import main
from edgelm.errors import OutputError
from edgelm.runtime.cache.disk import DiskCache, default_budget_bytes

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """EDGELM_HOME below a file, where root cannot make a directory either."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGELM_HOME", str(tmp_path / "file" / "home"))
    return tmp_path / "file" / "home"


def test_one_answer_needs_no_home(
    nowhere: Path, api: FakeApi, stdin: Callable[[bytes], None], capsys: Capture
) -> None:
    stdin(b"")
    assert main(["chat", "tiny", "-p", "hello"]) == 0
    assert capsys.readouterr() == ("You said: hello \n", "")


@pytest.mark.slow
def test_the_loop_says_once_that_nothing_is_saved_and_goes_on(
    nowhere: Path, terminal: Callable[..., Any]
) -> None:
    chat = terminal("chat", "tiny", "--plain")
    chat.wait_for("nothing of this chat is saved", then="leaves")
    chat.send("hello\n")
    chat.wait_for("You said: hello")
    chat.send("/retry\n/messages\n/quit\n")
    assert chat.wait() == 0
    assert "alternative 2 of 2" in chat.output
    assert chat.output.count(str(nowhere)) == 1


def test_going_on_with_a_saved_chat_names_the_path_and_a_way_out(
    nowhere: Path, api: FakeApi, stdin: Callable[[bytes], None], capsys: Capture
) -> None:
    stdin(b"")
    assert main(["chat", "tiny", "-p", "hello", "--continue"]) == 1
    error = capsys.readouterr().err
    assert str(nowhere) in error
    assert "EDGELM_HOME=DIRECTORY" in error


def test_what_the_system_refuses_anywhere_is_named_by_its_path(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def refuse(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/some/where")

    monkeypatch.setattr(data, "run", refuse)
    assert main(["data", "check", "x.jsonl"]) == 1
    assert capsys.readouterr().err == (
        "error: /some/where: No space left on device\n\nhint: free some space and run the command again\n"
    )


def test_a_disk_that_refuses_within_a_directory_that_is_filled_is_an_error_with_its_path(
    tmp_path: Path,
) -> None:
    words = f"cannot write {tmp_path / 'made'}: No space"
    with pytest.raises(OutputError, match=words), atomic_directory(tmp_path / "made"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(FileNotFoundError), atomic_directory(tmp_path / "made"):
        (tmp_path / "elsewhere").read_text()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_grows_too_large_is_an_error_with_its_path(tmp_path: Path) -> None:
    code = """
    import resource, sys
    from pathlib import Path
    from edgelm.atomic import atomic_directory
    from edgelm.errors import OutputError
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        with atomic_directory(Path(sys.argv[1])) as directory:
            (directory / "a").write_bytes(bytes(10_000))
    except OutputError as error:
        print(error.message)
    """
    script = "\n".join(line[4:] for line in code.splitlines())
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "made")], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"cannot write {tmp_path / 'made'}: File too large\n"
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def test_a_cache_that_cannot_be_changed_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = DiskCache(tmp_path, "model", budget_bytes=0)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b-c.safetensors").write_bytes(b"x")
    cache._files["b"] = tmp_path / "a" / "b-c.safetensors"

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("os.utime", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    cache.touch(["b"])
    cache.shrink()
    monkeypatch.setattr("shutil.disk_usage", refuse)
    assert default_budget_bytes(tmp_path) == 0


def test_a_home_that_may_not_be_looked_into_has_no_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    cache = DiskCache(tmp_path, "model", budget_bytes=0)
    monkeypatch.setattr(Path, "stat", refuse)
    monkeypatch.setattr(Path, "glob", refuse)
    assert cache.index("") == []
    cache.shrink()
    assert default_budget_bytes(tmp_path) == 0
    monkeypatch.delenv("EDGELM_HOME", raising=False)
    assert paths.caches().name == "edgelm"
    assert row_products._compiled() is None


@pytest.mark.slow
@pytest.mark.parametrize(("flags", "extra"), [(("--plain",), {}), ((), {"NO_COLOR": "1"})])
def test_no_colour_where_none_is_wanted(
    flags: tuple[str, ...], extra: dict[str, str], home: Path, terminal: Callable[..., Any]
) -> None:
    (home / "chats").mkdir(parents=True)
    (home / "edgelm.db").mkdir()  # so that there is a warning
    shown = terminal("chat", "tiny", "-p", "think", "--show-thinking", *flags, **extra)
    assert shown.wait() == 0
    assert "so" in shown.output
    assert "\x1b[1" not in shown.output
    assert "\x1b[2m" not in shown.output
    failed = terminal("chat", "tiny", "-p", "x", "--continue", *flags, **extra)
    assert failed.wait() == 1
    assert "error:" in failed.output
    assert "\x1b[" not in failed.output


@pytest.mark.slow
def test_plain_redraws_nothing(home: Path, terminal: Callable[..., Any]) -> None:
    chat = terminal("chat", "tiny", "--plain")
    chat.wait_for("leaves")
    chat.send("too long\n/set nothing 1\n/quit\n")
    assert chat.wait() == 0
    assert "error:" in chat.output
    assert "\x1b[" not in chat.output
