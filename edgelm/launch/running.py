"""An agent in this terminal, until it ends: it has the keyboard, and Ctrl-C is its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from edgelm.errors import NotFoundError, UnsupportedError
from edgelm.launch.agents import Agent

_PASSED_ON = (signal.SIGTERM, signal.SIGHUP)
"""What tells this process to end is for the agent to hear, which ends it with what it holds."""


def require_installed(agent: Agent) -> str:
    """Return the path of an agent's program.

    Raises:
        NotFoundError: it is not installed.
    """
    program = shutil.which(agent.program)
    if program is None:
        raise NotFoundError(
            f"{agent.title} is not installed: there is no {agent.program} on PATH", hint=agent.install
        )
    return program


def run_agent(program: str, arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run an agent and return its exit status, as a shell gives it: 128 and the signal's number where one ended it.

    Raises:
        UnsupportedError: the system cannot run the program.
    """
    agents: list[subprocess.Popen[bytes]] = []
    with _signals_for(agents):
        try:
            agents.append(subprocess.Popen([program, *arguments], env={**os.environ, **environment}))
        except OSError as error:
            raise UnsupportedError(f"{program} cannot be run: {error.strerror or error}") from error
        code = agents[0].wait()
    return 128 - code if code < 0 else code


@contextmanager
def _signals_for(agents: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Leave signals to the agent during the block. The terminal sends Ctrl-C to both: one is enough.

    Python's own handlers are not inherited by what is run, so the agent begins with the system's.
    """

    def pass_on(number: int, frame: FrameType | None) -> None:
        for agent in agents:
            agent.send_signal(number)

    def pass_over(number: int, frame: FrameType | None) -> None:
        """Do nothing about a Ctrl-C."""

    before = {number: signal.signal(number, pass_on) for number in _PASSED_ON}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, pass_over)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
