"""`edgelm` without a command, on a pseudo-terminal: the app opens, takes keys, and leaves the terminal as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from edgelm import paths
from edgelm.store.chats import Chats

Open = Callable[..., Any]
_ALTERNATE_SCREEN_OFF = "\x1b[?1049l"


@pytest.mark.slow
def test_the_app_opens_and_closes(terminal: Open) -> None:
    screen = terminal()
    screen.wait_for("F2 Chat")
    screen.wait_for("No model is installed yet")
    screen.send("\x1b[13~")  # F3
    screen.wait_for("The library is empty")
    screen.send("\x11")
    assert screen.wait() == 0
    assert _ALTERNATE_SCREEN_OFF in screen.output
    assert "Traceback" not in screen.output


@pytest.mark.slow
def test_quitting_waits_for_nothing_and_loses_nothing(terminal: Open, home: Path) -> None:
    model = home / "models" / "tiny"
    model.mkdir(parents=True)
    (model / "config.json").write_text(json.dumps({"model_type": "llama"}))
    save_file({"weight": np.zeros((2, 2), np.float32)}, model / "model.safetensors")
    screen = terminal(
        FAKE_LOAD_S="100000"  # whoever waited for it would be waiting still
    )
    screen.wait_for("loading tiny")
    screen.send("half a thought")
    screen.wait_for("half a thought")
    screen.send("\x11")
    assert screen.wait() == 0
    assert _ALTERNATE_SCREEN_OFF in screen.output
    with Chats(paths.database()) as chats:
        assert [session.draft for session in chats.sessions()] == ["half a thought"]


def test_without_a_terminal_it_says_how_it_is_used(edgelm: Callable[..., Any]) -> None:
    done = edgelm()
    assert done.returncode == 2
    assert "commands:" in done.stderr
    assert "--web" in done.stderr
