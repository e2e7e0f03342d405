"""A server in a process of its own, which outlives the terminal: started, waited for until it serves, stopped.

It logs to a file under the data directory. Its own session keeps a Ctrl-C that is meant for an agent from it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edgelm import paths
from edgelm.errors import EngineError, OutputError
from edgelm.launch.records import RunningServer, running_servers
from edgelm.machine.lock import ProcessLock
from edgelm.processes import is_marked_alive

_LOOK_S = 0.05
_STOP_S = 40.0
"""How long a server may take to end: replies under way have 30 seconds."""
_LOG_BYTES = 1 << 20
_LAST_LINES = 12


def start(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> RunningServer:
    """Start `edgelm serve` with these arguments and return it once it serves.

    Args:
        environment: the whole of it; None is this process's.

    Raises:
        EngineError: it ended before it served; the message is what it said last.
        OutputError: its log cannot be written.
    """
    log = log_file()
    try:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > _LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise OutputError(f"cannot write {log}: {error.strerror or error}") from error
    with os.fdopen(handle, "ab") as output:
        began = output.seek(0, os.SEEK_END)
        command = [sys.executable, "-m", "edgelm", "serve", *arguments]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=environment,
        )
    try:
        return _until_it_serves(process)
    except _EndedError as error:
        raise EngineError(
            f"the server ended before it served: {_last_lines(log, began)}", hint=f"its log is {log}"
        ) from error
    except BaseException:  # Ctrl-C while it loads: nobody waits for it any more
        process.terminate()
        process.wait()
        raise


class _EndedError(Exception):
    """The process of a server has ended."""


def _until_it_serves(process: subprocess.Popen[bytes]) -> RunningServer:
    while True:
        for server in running_servers():
            if server.pid == process.pid:
                return server
        if process.poll() is not None:
            raise _EndedError
        time.sleep(_LOOK_S)


def log_file() -> Path:
    """Return the file that servers in the background log to."""
    return paths.servers() / "servers.log"


def stop(server: RunningServer) -> None:
    """Tell a server to end and wait until it has; one that does not end in time is killed."""
    waited_until = time.monotonic() + _STOP_S
    _tell(server, signal.SIGTERM)
    while _is_there(server):
        if time.monotonic() > waited_until:
            _tell(server, signal.SIGKILL)
            waited_until = float("inf")
        time.sleep(_LOOK_S)


def start_lock() -> ProcessLock:
    """Return the lock that keeps two agents that begin at once from starting two servers."""
    paths.servers().mkdir(mode=0o700, parents=True, exist_ok=True)
    return ProcessLock(paths.servers() / "start.lock")


def take_turn(lock: ProcessLock, on_wait: Callable[[int], object]) -> None:
    """Take `lock`, waiting for whoever has it; `on_wait` is called with its process number once."""
    told = False
    while (holder := lock.take()) is not None:
        if not told:
            told = True
            on_wait(holder)


def free_port(wanted: int) -> int:
    """Return `wanted` if nobody listens on it, else 0, which is any that is free."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", wanted))
        except OSError:
            return 0
    return wanted


def _tell(server: RunningServer, number: signal.Signals) -> None:
    """Send a signal, but to no later process of that number."""
    if is_marked_alive(server.mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(server.pid, number)


def _is_there(server: RunningServer) -> bool:
    """Whether its process is; a child of this one is waited for, or it would stay as a zombie."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(server.pid, os.WNOHANG)
    return is_marked_alive(server.mark)


def _last_lines(log: Path, began: int) -> str:
    """What was written to the log since `began`, the last of it."""
    with log.open("rb") as file:
        file.seek(began)
        lines = file.read().decode(errors="replace").split("\n")
    said = [line.strip() for line in lines if line.strip()][-_LAST_LINES:]
    return " / ".join(said).removeprefix("error: ") or "it said nothing"
