"""`edgelm serve` as a process: what it says, what it refuses before it loads anything, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

import edgelm
from edgelm.errors import OptionError
from edgelm.server.run import asgi_app

pytestmark = pytest.mark.slow


def test_it_serves_until_ctrl_c(model_directory: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
               "import sys; from edgelm.cli.main import main; sys.exit(main(sys.argv[1:]))",
               "serve", str(model_directory), "--port", "0"]  # fmt: skip
    given = {**os.environ, "EDGELM_HOME": str(tmp_path), "EDGELM_API_KEY": "secret"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=given) as process:
        assert process.stderr is not None
        said = ""
        while "serving at" not in said:
            said = process.stderr.readline()
            assert said, "it ended before it served"
        address = said.split("serving at ")[1].split("/v1")[0]
        assert httpx2.get(f"{address}/v1/models").status_code == 401
        listed = httpx2.get(f"{address}/v1/models", headers={"Authorization": "Bearer secret"}).json()
        assert [model["id"] for model in listed["data"]] == ["tiny"]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=120) == 0
        assert "Traceback" not in process.stderr.read()


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
