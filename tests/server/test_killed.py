"""Servers whose disk or whose life ends: prompts of before a SIGKILL are found, and a full disk ends no request."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from waiting import PATIENCE_S, wait_for

pytestmark = [pytest.mark.fault, pytest.mark.slow]

BODY: dict[str, Any] = {"messages": [{"role": "user", "content": "word " * 400}], "max_tokens": 4}
FULL = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY));"
"""No file may grow: what a full disk says, says the system of each write."""


@contextmanager
def serving(model: Path, home: Path, before: str = "") -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [
        sys.executable,
        "-c",
        f"{before}from edgelm.cli.main import run; run()",
        "serve",
        str(model),
        "--port",
        "0",
    ]
    environment = {**os.environ, "EDGELM_HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stderr is not None
            said = ""
            while "serving at" not in said:
                said = process.stderr.readline()
                assert said, "it ended before it served"
            yield process, said.split("serving at ")[1].split("/v1")[0]
        finally:
            process.kill()


def ask(address: str, **more: Any) -> dict[str, Any]:
    answer = httpx2.post(f"{address}/v1/chat/completions", json={**BODY, **more}, timeout=PATIENCE_S)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_a_prompt_of_before_a_kill_is_not_computed_again(model_directory: Path, tmp_path: Path) -> None:
    with serving(model_directory, tmp_path) as (process, address):
        first = ask(address)
        assert first["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
        wait_for(lambda: any((tmp_path / "caches").rglob("*.safetensors")))
        wait_for(lambda: not any((tmp_path / "caches").rglob("*.partial-*")))
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=PATIENCE_S)
    with serving(model_directory, tmp_path) as (process, address):
        again = ask(address)
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] > 1_000
    assert again["choices"] == first["choices"]


def test_a_full_disk_ends_no_request(model_directory: Path, tmp_path: Path) -> None:
    with serving(model_directory, tmp_path, FULL) as (process, address):
        answers = [
            ask(address, messages=[{"role": "user", "content": str(number) * 600}]) for number in range(3)
        ]
        assert all(answer["choices"] for answer in answers)
        assert httpx2.get(f"{address}/health").json() == {"status": "ok"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=PATIENCE_S) == 0
        assert process.stderr is not None
        said = process.stderr.read()
    assert "Traceback" not in said
    assert "the prompt cache was not written" in said
