"""Unit tests of the code in an answer, run in a process of its own with a limit of time and memory, and without network.

A row has them in `tests`: Python source, or a list of such, of which each counts alone. The code is the last fenced block of
the answer, or all of it. What runs is a model's code, so the process is fenced in (`sandbox.py`); what that is worth on which
system stands in docs/rewards.md.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from edgelm.errors import OptionError
from edgelm.rewards.reward import JudgedAnswer, Reward
from edgelm.rewards.verifiable.fence import fenced_command

TESTS = "tests"
"""The field of a row that holds its tests."""

_CHILD = Path(__file__).with_name("sandbox.py")
_BLOCK = re.compile(r"```[ \t]*(?:python|py|python3)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)
_AT_ONCE = 4
_REPORT_BYTES = 65536


class UnitTestReward(Reward):
    """Gives the share of a row's tests that the code of an answer passes.

    Args:
        seconds: for all tests of one answer, by the clock.
        memory_mb: for the process, in 10^6 bytes.

    Raises:
        OptionError: a limit that is none.
    """

    columns = (TESTS,)

    def __init__(self, seconds: float = 5.0, memory_mb: int = 1024) -> None:
        if not (0 < seconds <= 3600 and memory_mb >= 64):
            raise OptionError(
                f"tests may take {seconds} s and {memory_mb} MB, expected up to 3600 s and 64 MB or more"
            )
        self.name = "tests"
        self._seconds, self._memory_mb = seconds, memory_mb
        self._threads = ThreadPoolExecutor(min(_AT_ONCE, os.cpu_count() or 1), "edgelm-tests")

    def score(self, answers: Sequence[JudgedAnswer]) -> list[float | None]:
        """Return a number from 0 to 1 for each answer; None where the row has no tests."""
        return list(self._threads.map(self._one, answers))

    def _one(self, each: JudgedAnswer) -> float | None:
        tests = each.columns.get(TESTS)
        sources = [tests] if isinstance(tests, str) else list(tests or ())
        if not sources:
            return None
        passed = self._passed(code_of(each.text), [str(source) for source in sources])
        return passed / len(sources)

    def _passed(self, code: str, tests: Sequence[str]) -> int:
        """How many tests pass; none where the process did not come to its end."""
        mark = secrets.token_hex(16)
        request = {"code": code, "tests": list(tests), "mark": mark, "seconds": self._seconds,
                   "memory_bytes": self._memory_mb * 10**6}  # fmt: skip
        with tempfile.TemporaryDirectory(prefix="edgelm-tests-") as folder:
            lines = _run(fenced_command(_CHILD, Path(folder)), json.dumps(request), folder, self._seconds)
        return sum(line == f"{mark} passed" for line in lines)

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def code_of(text: str) -> str:
    """Return the Python code of an answer: its last fenced block, or all of it."""
    blocks = _BLOCK.findall(text)
    return str(blocks[-1]) if blocks else text


def _run(command: Sequence[str], request: str, folder: str, seconds: float) -> list[str]:
    """The lines that the process reported; it and all that it started have ended by then."""
    reading, writing = os.pipe()
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8"}
    try:
        process = subprocess.Popen(
            [*command, str(writing)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=environment,
            pass_fds=(writing,),
            start_new_session=True,
        )
    finally:
        os.close(writing)
    try:
        with suppress(subprocess.TimeoutExpired, BrokenPipeError):
            # The code's own limit, and time for the process to begin and to be ended by its own clock.
            process.communicate(request.encode(), timeout=seconds + _START_S)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        # The pipe is read last: it holds more than any report, and whoever fills it is gone.
        return _drained(reading)
    finally:
        os.close(reading)


_START_S = 20.0
"""Seconds for an interpreter to start on a busy machine."""


def _drained(reading: int) -> list[str]:
    os.set_blocking(reading, False)
    report = b""
    with suppress(BlockingIOError):
        while len(report) < _REPORT_BYTES and (part := os.read(reading, _REPORT_BYTES)):
            report += part
    return report.decode(errors="replace").splitlines()
