"""`edgelm --web`: on the loopback address, with a key, and not for other sites."""

from __future__ import annotations

import asyncio
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, WSMsgType, WSServerHandshakeError, web
from textual_serve.app_service import AppService
from waiting import PATIENCE_S

from edgelm.cli.main import main
from edgelm_tui.web import make_server

APP = """
from textual.app import App
from textual.widgets import Static
class Small(App):
    def compose(self):
        yield Static('over the web')
Small().run()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def served(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """A small app, served; the address that opens it.

    textual-serve asks the app to quit and does not wait for its process, whose pipes would then outlive the event loop.
    """
    opened: list[Process] = []
    open_process = AppService._open_app_process

    async def open_and_note(service: AppService, width: int = 80, height: int = 24) -> Process:
        opened.append(await open_process(service, width, height))
        return opened[-1]

    monkeypatch.setattr(AppService, "_open_app_process", open_and_note)
    port = free_port()
    server, address = make_server(port, [sys.executable, "-c", APP])
    runner = web.AppRunner(await server._make_app())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield address
    finally:
        await runner.cleanup()
        for process in opened:
            assert process.stdin is not None
            process.stdin.close()
            await asyncio.wait_for(process.wait(), PATIENCE_S)


async def test_the_address_with_its_key_opens_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(monkeypatch) as address, ClientSession() as browser:
        page = await browser.get(address)
        assert page.status == 200
        assert "edgelm" in await page.text()
        url = address.partition("/?")[0].replace("http", "ws")
        cookie = {"Cookie": f"edgelm_key={address.partition('key=')[2]}"}
        async with browser.ws_connect(f"{url}/ws?width=80&height=24", headers=cookie) as socket_:
            seen = b""
            while b"over the web" not in seen:
                message = await asyncio.wait_for(socket_.receive(), PATIENCE_S)
                assert message.type in (WSMsgType.TEXT, WSMsgType.BINARY)
                seen += message.data if isinstance(message.data, bytes) else message.data.encode()


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Cookie": "edgelm_key=wrong"}]
)
async def test_others_are_refused(headers: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(monkeypatch) as address, ClientSession() as browser:
        bare = address.partition("?")[0]
        with_key = address if "Cookie" not in headers else bare
        assert (await browser.get(with_key, headers=headers)).status == 403
        assert (await browser.get(bare)).status == 403
        with pytest.raises(WSServerHandshakeError):
            await browser.ws_connect(bare.replace("http", "ws") + "ws", headers=headers)


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main([f"--web={taken.getsockname()[1]}"]) == 1
    assert "cannot be used" in capsys.readouterr().err
