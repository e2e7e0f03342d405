"""`edgelm serve` as a process: what it says, what it refuses before it loads anything, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from waiting import PATIENCE_S, wait_for

import edgelm
from edgelm.cli.main import main
from edgelm.errors import OptionError
from edgelm.launch.records import running_servers
from edgelm.server.run import asgi_app

pytestmark = pytest.mark.slow


COMMAND = [sys.executable, "-c", "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
           "from edgelm.cli.main import run; run()", "serve"]  # fmt: skip
LONG = {"messages": [{"role": "user", "content": "x"}], "logit_bias": {"256": -100}, "stream": True}


@contextmanager
def serving(
    model_directory: Path, home: Path, **environment: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`edgelm serve` as a process that serves, and its address."""
    command = [*COMMAND, str(model_directory), "--port", "0", "--no-disk-cache"]
    given = {**os.environ, "EDGELM_HOME": str(home), **environment}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=given) as process:
        try:
            assert process.stderr is not None
            said = ""
            while "serving at" not in said:
                said = process.stderr.readline()
                assert said, "it ended before it served"
            yield process, said.split("serving at ")[1].split("/v1")[0]
        finally:
            process.kill()


def test_it_serves_until_ctrl_c(model_directory: Path, tmp_path: Path) -> None:
    with serving(model_directory, tmp_path, EDGELM_API_KEY="secret") as (process, address):
        assert httpx2.get(f"{address}/v1/models").status_code == 401
        listed = httpx2.get(f"{address}/v1/models", headers={"Authorization": "Bearer secret"}).json()
        assert [model["id"] for model in listed["data"]] == ["tiny"]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=PATIENCE_S) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_told_to_stop_it_lets_a_stream_end_and_nobody_in(model_directory: Path, tmp_path: Path) -> None:
    with serving(model_directory, tmp_path) as (process, address):
        body = {**LONG, "max_tokens": 400}
        with httpx2.stream("POST", f"{address}/v1/chat/completions", json=body, timeout=PATIENCE_S) as answer:
            lines = answer.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            wait_for(lambda: httpx2.get(f"{address}/health").status_code == 503)
            assert httpx2.get(f"{address}/health").json() == {"status": "stopping"}
            refused = httpx2.post(f"{address}/v1/chat/completions", json=body)
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "shutting_down"
            assert [line for line in lines if line][-1] == "data: [DONE]"
        assert process.wait(timeout=PATIENCE_S) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_second_ctrl_c_does_not_wait(model_directory: Path, tmp_path: Path) -> None:
    with serving(model_directory, tmp_path) as (process, address):
        body = {**LONG, "max_tokens": 50_000}
        with httpx2.stream("POST", f"{address}/v1/chat/completions", json=body, timeout=PATIENCE_S) as answer:
            lines = answer.iter_lines()  # the connection ends with it
            next(lines)
            process.send_signal(signal.SIGINT)
            wait_for(lambda: httpx2.get(f"{address}/health").status_code == 503)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=PATIENCE_S) == 130
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
        assert not list((tmp_path / "servers").glob("*.json"))


def test_in_the_background(
    model_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGELM_HOME", str(tmp_path))
    assert main(["serve", "--status"]) == 0
    assert "no server runs" in capsys.readouterr().err
    assert main(["serve", str(model_directory), "--port", "0", "--api-key", "secret", "--background"]) == 0
    (server,) = running_servers()
    try:
        assert f"{server.address}/v1" in capsys.readouterr().err
        assert server.key == "secret"
        assert main(["serve", "--status"]) == 0
        assert "\t".join([server.address, "tiny", "ok", "0", "1"]) in capsys.readouterr().out
        assert main(["serve", "--stop", "--port", "1"]) == 1
        assert str(server.port) in capsys.readouterr().err
    finally:
        assert main(["serve", "--stop"]) == 0
    assert running_servers() == []
    assert main(["serve", "--stop"]) == 1


def test_a_port_that_is_taken(model_directory: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as holder,
        pytest.raises(OptionError, match="cannot be listened on"),
    ):
        edgelm.serve(model_directory, port=holder.getsockname()[1])


def test_a_pinned_model_that_is_not_served(model_directory: Path) -> None:
    with pytest.raises(OptionError, match="pinned is 'other'"):
        edgelm.serve(model_directory, pinned=["other"], port=0)


def test_models_of_one_name(model_directory: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny").symlink_to(model_directory)
    with pytest.raises(OptionError, match="'tiny'"):
        asgi_app(model_directory, tmp_path / "tiny")
