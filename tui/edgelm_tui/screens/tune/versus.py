"""The same prompt to a model without and with an adapter, side by side."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Input, Static

from edgelm.conversation.question import Question
from edgelm.runtime.events import Text
from edgelm_tui.engine.events import AnswerEnded, AnswerEvent, ClientEvent, Failed, Loaded
from edgelm_tui.services.services import Services
from edgelm_tui.shell.dialogs.dialog import Dialog

_SIDES = ("base", "adapter")


class VersusScreen(Dialog[None]):
    """Asks one side after the other; the model of the chat is loaded again when it closes."""

    DEFAULT_CSS = """
    VersusScreen > .frame { width: 95%; max-width: 100%; height: 100%; }
    VersusScreen .sides { height: 1fr; }
    VersusScreen.-small .sides { layout: vertical; }
    VersusScreen .side { width: 1fr; height: 1fr; border: round $border-blurred; padding: 0 1; }
    VersusScreen #progress { height: 1; color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Close", id="dialog.close")]

    def __init__(self, services: Services, base: str, adapter: str, prompt: str = "") -> None:
        super().__init__()
        self._services = services
        self._base, self._adapter, self._prompt = base, adapter, prompt
        self._side = -1
        self._job: int | None = None
        self._texts = ["", ""]
        self._before: Loaded | None = None
        """The model of the chat, once another was loaded for this."""

    def compose(self) -> ComposeResult:
        """Make a line above two answers."""
        with Vertical(classes="frame"):
            yield Input(self._prompt, placeholder="Ask both", id="question")
            yield Static("Enter asks both, one after the other", id="progress", markup=False)
            with Horizontal(classes="sides"):
                for side in _SIDES:
                    with VerticalScroll(classes="side") as scroll:
                        scroll.border_title = side
                        yield Static("", id=side, markup=False)

    def on_mount(self) -> None:
        """Hear the engine."""
        self.query_one(Input).focus()
        self._services.signals.engine.subscribe(self, self.take, immediate=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Ask both sides."""
        if event.value.strip() and self._side < 0 and not self._services.desk.busy:
            self._prompt, self._texts = event.value, ["", ""]
            self._next()

    def action_leave(self) -> None:
        """Stop what runs, and give the chat its model back."""
        services, before = self._services, self._before
        self._side = -1
        if self._job is not None:
            services.engine.stop(self._job)
        if before is not None and services.state.model != before:
            services.models.load(before.directory or before.name, before.adapter or "")
        self.dismiss(None)

    def take(self, event: ClientEvent) -> None:
        """Take in one event of the engine."""
        match event:
            case Loaded() if self._side >= 0 and self._job is None:
                self._job = self._services.engine.ask(Question(({"role": "user", "content": self._prompt},)))
                self._say(f"asking the {_SIDES[self._side]}")
            case AnswerEvent(job, Text(text, "answer")) if job == self._job:
                self._texts[self._side] += text
                self.query_one(f"#{_SIDES[self._side]}", Static).update(self._texts[self._side])
            case Failed(message, _, job) if self._side >= 0 and job in (None, self._job):
                self._say(f"error: {message}")
                self._side = -1 if job is None else self._side
            case AnswerEnded(job) if job == self._job:
                self._next()

    def _next(self) -> None:
        self._job = None
        self._side = self._side + 1 if self._side + 1 < len(_SIDES) else -1
        if self._side < 0:
            self._say("done; Enter asks again")
            return
        self._say(f"loading the {_SIDES[self._side]}")
        self._before = self._before or self._services.state.model
        self._services.models.load(self._base, self._adapter if self._side == 1 else "")

    def _say(self, text: str) -> None:
        self.query_one("#progress", Static).update(text)
