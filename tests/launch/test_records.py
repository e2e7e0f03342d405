"""Servers that run are found by other processes; what a killed one left is not."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from fake_agents import saying

from edgelm import paths
from edgelm.launch import users
from edgelm.launch.asking import ServerState, state_of
from edgelm.launch.records import RunningServer, recorded, running_servers
from edgelm.processes import own_mark

pytestmark = pytest.mark.usefixtures("home")


def test_a_server_is_found_while_it_runs() -> None:
    with recorded("0.0.0.0", 8080, "secret", ("a", "b")):
        (server,) = running_servers()
        assert (server.pid, server.port, server.key) == (os.getpid(), 8080, "secret")
        assert server.address == "http://127.0.0.1:8080"
        assert server.serves("a")
        assert not server.serves("c")
        assert stat.S_IMODE(server.file.stat().st_mode) == 0o600
        with recorded("::1", 8080, None, ()):
            newest = running_servers()[0]
            assert newest.address == "http://[::1]:8080"
            assert newest.serves("whatever")
    assert running_servers() == []


def test_what_is_stale_or_strange_is_passed_over() -> None:
    folder = paths.servers()
    folder.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    dead = f"{process.pid}-12345678"
    record = {"mark": dead, "address": "http://127.0.0.1:1", "key": "", "models": [], "began_s": 1.0}
    (folder / f"{dead}.1.json").write_text(json.dumps(record), encoding="utf-8")
    for name, text in (
        (f"{own_mark()}.2.json", "{"),
        (f"{own_mark()}.3.json", json.dumps(record)),
        ("x.json", "[]"),
    ):
        (folder / name).write_text(text, encoding="utf-8")
    assert running_servers() == []
    assert not (folder / f"{dead}.1.json").exists()


def test_a_home_that_cannot_be_written_ends_no_server(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    home.mkdir()
    (home / "servers").write_text("a file", encoding="utf-8")
    with recorded("127.0.0.1", 1, None, ()):
        assert running_servers() == []
    assert "no other process finds this server" in caplog.text


def test_how_a_server_is() -> None:
    with saying(replies=3, loaded=2, key="k") as port, recorded("127.0.0.1", port, "k", ()):
        (server,) = running_servers()
        assert state_of(server) == ServerState("ok", 3, 2)
        wrong = RunningServer(server.mark, server.address, "other", (), 0.0)
        assert state_of(wrong) is None
    assert state_of(server) is None


def test_the_last_user_is_told_so() -> None:
    with recorded("127.0.0.1", 1, None, ()):
        (server,) = running_servers()
        users.join(server)
        assert not users.is_last_to_leave(server), "it was started by hand"
        users.found_users(server)
        users.join(server)
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
            (server.file.with_suffix(".users") / str(other.pid)).touch()
            assert not users.is_last_to_leave(server)
            other.kill()
        users.join(server)
        assert users.is_last_to_leave(server)
