"""A server of another terminal in the status line: seen within seconds, gone with it, and never waited for by the app."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from app_driver import running
from fake_agents import saying

from edgelm.launch.asking import ServerState
from edgelm.launch.records import RunningServer, recorded
from edgelm_tui.services.servers import in_words
from edgelm_tui.services.state import AppState


def server(port: int) -> RunningServer:
    return RunningServer("1", f"http://127.0.0.1:{port}", "", (), 0.0)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (ServerState("ok", 0, 1), "server on 8080"),
        (ServerState("ok", 1, 1), "server on 8080: 1 reply"),
        (ServerState("stalled", 3, 1), "server on 8080: stalled"),
        (None, "server on 8080: no answer"),
    ],
)
def test_how_a_server_is_said_to_be(state: ServerState | None, words: str) -> None:
    assert in_words([(server(8080), state)]) == words
    assert in_words([(server(1), state), (server(2), ServerState("ok", 2, 1))]).startswith("2 servers: ")


def test_it_gives_way_where_there_is_no_room() -> None:
    state = AppState(is_listed=True, job="tune x: step 3", servers="server on 8080: 12 replies")
    assert state.status(80) == "no model · tune x: step 3 · server on 8080: 12 replies"
    assert state.status(40) == "no model · tune x: step 3"
    assert state.status(5) == "no model"


async def test_it_is_shown_while_it_runs(home: Path) -> None:
    async with running() as it:
        assert "server" not in it.status
        with saying(replies=2) as port, recorded("127.0.0.1", port, None, ("tiny",)):
            await it.until(lambda: f"server on {port}: 2 replies" in it.status, "shown")
        await it.until(lambda: "server" not in it.status, "gone")


async def test_one_that_does_not_answer_holds_nothing_up(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with recorded("127.0.0.1", port, None, ()):
            async with running(size=(60, 15)) as it:
                await it.write("typed meanwhile")
                assert it.prompt.text == "typed meanwhile"
                await it.until(lambda: f"server on {port}: no answer" in it.status, "told")
