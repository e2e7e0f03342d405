"""Runs the code of an answer and its tests, and tells of each test whether it passed; imports nothing of edgelm.

    python -I sandbox.py FD        with {"code", "tests", "mark", "seconds", "memory_bytes"} on standard input

A line `MARK passed` is written to FD for each test that passed. The mark comes with the request, so that code that only
ends the process passes nothing. Limits: processor time and memory by `setrlimit`, no network by a namespace of its own where
the kernel gives one, and an audit hook, which Python code cannot take off again, against sockets, processes and
native libraries, and against writing outside the working folder.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import sys
from pathlib import Path

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # linux/sched.h
_MOST_FILE_BYTES = 16 * 10**6

_DENIED = (
    "socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "os.kill", "pty.",
    "webbrowser.", "ctypes.dlsym", "ctypes.call_function", "resource.",
)  # fmt: skip
_CHANGING = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "os.chown", "os.link", "os.symlink",
             "os.truncate", "os.utime", "shutil.")  # fmt: skip


def main(report: int) -> None:
    """Run one request."""
    request = json.load(sys.stdin)
    code, tests, mark = request["code"], request["tests"], request["mark"]
    _leave_the_network()
    _limit(request["seconds"], request["memory_bytes"])
    place = str(Path.cwd().resolve())
    del request
    sys.addaudithook(lambda event, arguments: _check(event, arguments, place))
    names: dict[str, object] = {"__name__": "answer"}
    try:
        exec(compile(code, "<answer>", "exec"), names)
    except BaseException:  # noqa: BLE001 - whatever the code raises: without it no test can pass
        return
    for test in tests:
        try:
            exec(compile(test, "<test>", "exec"), names)
        except BaseException:  # noqa: BLE001 - a test that failed
            continue
        os.write(report, f"{mark} passed\n".encode())


def _leave_the_network() -> None:
    """Go into a network namespace without interfaces, where the kernel lets a process without rights do so."""
    if sys.platform == "linux":
        import ctypes

        # What it returns is not asked: where it is refused, the audit hook is what there is.
        ctypes.CDLL(None).unshare(_CLONE_NEWUSER | _CLONE_NEWNET)


def _limit(seconds: float, memory_bytes: int) -> None:
    whole = max(1, math.ceil(seconds))
    limits = [
        (resource.RLIMIT_CPU, whole),
        (resource.RLIMIT_FSIZE, _MOST_FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ]
    if sys.platform == "linux":  # macOS takes the limit and does not keep to it
        limits.append((resource.RLIMIT_AS, memory_bytes))
    for kind, limit in limits:
        resource.setrlimit(kind, (limit, limit))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _check(event: str, arguments: tuple[object, ...], place: str) -> None:
    """Refuse what code that is only tested has no need of; see the table of audit events in Python's documentation."""
    if event == "open":
        path, mode, flags = (*arguments, None, None)[:3]
        writes = isinstance(mode, str) and not set(mode).isdisjoint("wax+")
        writes = writes or (isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR)))
        if writes and not isinstance(path, int):
            _check_place(path, place)
    elif event.startswith(_CHANGING):
        for path in arguments:
            if isinstance(path, (str, bytes)):
                _check_place(path, place)
    elif event.startswith(_DENIED) or (event == "ctypes.dlopen" and arguments[0] is not None):
        raise PermissionError(f"{event} is not for code that is only tested")


def _check_place(path: object, place: str) -> None:
    real = os.path.realpath(os.fsdecode(path))  # type: ignore[arg-type]
    if real != place and not real.startswith(place + os.sep):
        raise PermissionError(f"{real} is outside the folder of the test")


if __name__ == "__main__":
    main(int(sys.argv[1]))
