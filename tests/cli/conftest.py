"""A scripted model behind `edgelm.api`, and the command line as a process, with or without a terminal."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fake_api
import pytest
from encoded_once import _long_texts_are_encoded_once
from fake_api import FakeApi
from waiting import PATIENCE_S

__all__ = ["_long_texts_are_encoded_once"]

FAKE_API = Path(fake_api.__file__)


@pytest.fixture(autouse=True)
def _at_home(home: Path) -> None:
    """No test touches the user's own library."""


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    """`edgelm.api`, faked."""
    fake = FakeApi()
    monkeypatch.setitem(sys.modules, "edgelm.api", fake)
    return fake


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Pipe bytes into the command."""

    def pipe(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))

    return pipe


def environment(**extra: str) -> dict[str, str]:
    """For a process that sees what this one sees, and has a terminal that answers no questions."""
    terminal = {"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1"}
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **terminal, **extra}


@pytest.fixture
def edgelm() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `edgelm ARGS` with the fake model, without a terminal."""

    def run(*arguments: str, stdin: str = "", **extra: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(FAKE_API), *arguments]
        return subprocess.run(
            command,
            input=stdin,
            env=environment(**extra),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    return run


class Terminal:
    """`edgelm ARGS` on a pseudo-terminal."""

    def __init__(self, *arguments: str, **extra: str) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, str(FAKE_API), *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment(**extra),
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(slave)
        self.output = ""
        self._seen = 0

    def send(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def wait_for(self, text: str, *, then: str = "", timeout_s: float = PATIENCE_S) -> None:
        """Read until `text`, and `then` after it, have come since the last call."""
        deadline = time.monotonic() + timeout_s
        while (end := self._after(text, then)) < 0:
            if time.monotonic() > deadline or not self._read():
                raise AssertionError(f"no {text!r} in {self.output[self._seen :]!r}")
        self._seen = end

    def _after(self, text: str, then: str) -> int:
        at = self.output.find(text, self._seen)
        after = self.output.find(then, at + len(text))
        return after + len(then) if at >= 0 <= after else -1

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Read to the end; the exit code."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and self._read():
            pass
        return self.process.wait(timeout=PATIENCE_S)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        os.close(self._master)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], 0.2)
        if not ready:
            return self.process.poll() is None
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux says so when the other end is gone
            return False
        self.output += data.decode("utf-8", errors="replace")
        return bool(data)


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """Open `edgelm ARGS` on a pseudo-terminal."""
    opened: list[Terminal] = []

    def run(*arguments: str, **extra: str) -> Terminal:
        opened.append(Terminal(*arguments, **extra))
        return opened[-1]

    yield run
    for item in opened:
        item.close()
