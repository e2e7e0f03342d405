"""A reward function of a Python file, in a process of its own: what it raises, prints or hangs in ends no training.

The file is code of the person who names it; it runs with that person's rights, like any script.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from edgelm.errors import NotFoundError, RewardError
from edgelm.rewards.functions.calling import arguments_of, checked_rewards
from edgelm.rewards.reward import JudgedAnswer, Reward

_CHILD = Path(__file__).with_name("child.py")
_LONGEST = 400
"""Characters of an error that are shown."""


class FileReward(Reward):
    """Asks the function `name` of a Python file; its process starts at once and lives until `close`.

    Args:
        seconds: that a call may take, the start of the process included in the first.
        log: where the function's own output goes; None is nowhere that is kept.

    Raises:
        NotFoundError: there is no such file.
        RewardError: it has no such function, or cannot be imported.
    """

    def __init__(self, path: Path, name: str, *, seconds: float = 600, log: Path | None = None) -> None:
        if not path.is_file():
            raise NotFoundError(f"{path} is no file, expected Python with a function {name!r}")
        self.name = name
        self._path, self._seconds = path.resolve(), seconds
        self._log: IO[bytes] = log.open("ab+") if log else tempfile.TemporaryFile()  # noqa: SIM115 - closed by close
        self._process: subprocess.Popen[bytes] | None = None
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._start()

    def score(self, answers: Sequence[JudgedAnswer]) -> list[float | None]:
        """Return what the function gives.

        Raises:
            RewardError: it raised, ended its process, took too long, or gave something else than a number for each answer.
        """
        if self._process is None:
            self._start()
        try:
            request = json.dumps(arguments_of(answers))
        except (TypeError, ValueError) as error:
            raise RewardError(f"the rows cannot be handed to the reward {self.name}: {error}") from error
        return checked_rewards(self.name, self._ask(request)["rewards"], len(answers))

    def close(self) -> None:
        """End the process."""
        self._end()
        self._log.close()

    def _start(self) -> None:
        self._lines = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [sys.executable, "-u", str(_CHILD), str(self._path), self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,  # Ctrl-C is for the training, which ends it
        )
        threading.Thread(target=_pump, args=(self._process.stdout, self._lines), daemon=True).start()
        self._answer()

    def _ask(self, request: str) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # that it has ended shows in what it does not say
            self._process.stdin.write(request.encode() + b"\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=self._seconds)
        except queue.Empty:
            self._end()
            raise RewardError(
                f"the reward {self.name} of {self._path} has not answered within {self._seconds:g} s, and was ended"
            ) from None
        if not line:
            raise RewardError(f"the reward {self.name} of {self._path} {self._ending()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RewardError(
                f"the reward {self.name} of {self._path} {answer['error'][:_LONGEST]}",
                hint=answer.get("hint"),
            )
        return answer

    def _ending(self) -> str:
        assert self._process is not None
        code = self._process.wait()
        self._end()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"ended its process ({how}){self._last_words()}"

    def _last_words(self) -> str:
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - 4096))
        last = self._log.read().decode(errors="replace").strip().rpartition("\n")[2]
        return f": {last[:_LONGEST]}" if last else ""

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.close()


def _pump(output: IO[bytes] | None, lines: queue.SimpleQueue[bytes]) -> None:
    """Hand on what the process writes, line by line; an empty line is its end."""
    assert output is not None
    with output:
        for line in output:
            lines.put(line)
    lines.put(b"")
