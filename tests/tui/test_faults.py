"""What may go wrong around the app: locked and broken databases, full disks, deleted models, kill -9, resizing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from app_driver import Driver, running
from scripted_engine import ScriptedEngine

from edgelm import paths
from edgelm.cli.main import main
from edgelm.errors import OutputError
from edgelm.store.chats import Chats


async def answering(it: Driver, engine: ScriptedEngine, words: int = 200) -> None:
    engine.gate.clear()
    await it.send("word " * words)
    await it.until(lambda: "You said:" in it.screen_text, "answering")


async def test_a_locked_database_loses_nothing() -> None:
    engine = ScriptedEngine()
    async with running(engine=engine) as it:
        await it.ask("one")
        await answering(it, engine, 30)
        with Chats(paths.database()) as other, other._database.transaction():
            await it.send("a prompt that cannot be put down")
            await it.until(lambda: "locked by another process" in it.toasts, "said so")
            assert it.prompt.text == "a prompt that cannot be put down"
            engine.gate.set()
            await it.until(lambda: not it.app.services.desk.busy, "the answer has ended")
            assert it.app.services.desk._unfinished
        await it.until(lambda: not it.app.services.desk._unfinished, "written down after all")
        saved = it.app.services.chats.path(1)[-1]
        assert saved.content == "You said: " + "word " * 30
        assert saved.state == "complete"
        await it.press("enter")
        await it.idle()
        assert it.said[-1] == "You said: a prompt that cannot be put down"


async def test_a_full_disk_is_said_and_the_answer_stays_on_the_screen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = ScriptedEngine()
    async with running(engine=engine) as it:
        full = OutputError(
            "cannot write edgelm.db: database or disk is full", hint="free some space and try again"
        )

        def refuse(*_: object, **__: object) -> None:
            raise full

        await answering(it, engine, 100)
        with monkeypatch.context() as patch:
            patch.setattr(it.app.services.chats, "write", refuse)
            engine.gate.set()
            await it.until(lambda: not it.app.services.desk.busy, "ended")
            await it.until(lambda: "disk is full" in it.toasts, "said so")
            await it.chat.open_chat.reload()  # what is saved is less than what was heard
            await it.until(lambda: "You said: word" in it.screen_text, "still there")
        await it.until(lambda: not it.app.services.desk._unfinished, "written when there is room")
        assert it.app.services.chats.path(1)[-1].content.startswith("You said: word")


def test_a_database_that_is_none_is_an_error_before_the_screen(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home.mkdir(parents=True)
    paths.database().write_bytes(b"not a database at all, for sure " * 100)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert main([]) == 1
    assert "is not a database" in capsys.readouterr().err


async def test_a_model_that_is_deleted_while_it_is_open(home: Path) -> None:
    directory = home / "models" / "tiny"
    directory.mkdir(parents=True)
    async with running() as it:
        await it.ask("one")
        shutil.rmtree(directory)
        await it.ask("two")  # what is loaded stays usable
        assert it.said[-1] == "You said: two"
        it.app.services.models.load("missing")
        await it.until(lambda: "no model 'missing'" in it.toasts, "said so")
        assert "no model 'missing'" in it.status
        it.app.services.models.load("tiny")
        await it.until(lambda: it.app.services.state.model is not None, "back")
        await it.ask("three")


async def test_resizing_in_the_middle_of_an_answer() -> None:
    engine = ScriptedEngine()
    async with running(engine=engine) as it:
        await answering(it, engine)
        for size in ((60, 20), (160, 50), (40, 12), (110, 34)):
            await it.pilot.resize_terminal(*size)
            await it.until(
                lambda width=size[0]: all(line.cell_length <= width for line in it.views[1]._lines),  # type: ignore[misc]
                "laid out anew",
            )
        engine.gate.set()
        await it.idle()
        assert it.said[1] == "You said: " + "word " * 200


async def test_an_engine_that_dies_does_not_take_the_app_along() -> None:
    engine = ScriptedEngine()
    engine.script["x"] = [ValueError("a bug")]  # type: ignore[list-item]
    async with running(engine=engine) as it:
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        import threading

        kept, threading.excepthook = threading.excepthook, lambda _: None
        try:
            await it.ask("x")
        finally:
            sys.unraisablehook, threading.excepthook = hook, kept
        assert "the engine failed unexpectedly" in it.screen_text
        assert it.app.is_running


KILLED = """
import asyncio, sys
from app_driver import running
from scripted_engine import ScriptedEngine

async def main():
    engine = ScriptedEngine()
    engine.pace_s = 0.02
    async with running(engine=engine) as it:
        await it.ask("one")
        engine.gate.clear()
        await it.send("word " * 2000)
        desk = it.app.services.desk
        await it.until(lambda: desk.current is not None and len(desk.current.text) > 200, "much")
        await it.write("half a thought")
        await it.pilot.pause(1.0)
        print(len(it.app.services.desk.current.text), flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.fault
def test_kill_9_loses_nothing_but_the_unfinished_token(home: Path) -> None:
    environment = {**os.environ, "EDGELM_HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    shown = int(child.stdout.readline())
    time.sleep(0.3)
    child.send_signal(signal.SIGKILL)
    child.wait()
    with Chats(paths.database()) as chats:
        *_, question, answer = chats.path(1)
        assert question.content == "word " * 2000
        assert (answer.state, answer.content[:9]) == ("stopped", "You said:")
        assert len(answer.content) >= shown
        assert chats.session(1).draft == "half a thought"
        assert chats._database.rows("PRAGMA integrity_check")[0][0] == "ok"


@pytest.mark.fault
async def test_two_apps_in_one_chat_become_branches() -> None:
    async with running() as first:
        await first.ask("one")
        async with running() as second:
            await second.chat.open_chat.open(1)
            await second.ask("from the second")
            await first.ask("from the first")
            assert first.said[-1] == "You said: from the first"
        children = first.app.services.chats._database.rows(
            "SELECT count(*) AS n FROM chat_messages WHERE role = 'user' AND parent_id = 2"
        )
        assert children[0]["n"] + len(first.said) >= 3
        assert first.app.services.chats._database.rows("PRAGMA integrity_check")[0][0] == "ok"
