"""The settings of one chat: system prompt, sampling, schema, adapter and its strength."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Button, Input, Label, Select, Static, TextArea

from edgelm.conversation.personas import persona_names, with_persona
from edgelm.conversation.question import checked_schema
from edgelm.conversation.settings import ChatSettings
from edgelm.errors import EdgeLMError
from edgelm_tui.shell.dialogs.dialog import ButtonRow, Dialog, FormRow
from edgelm_tui.shell.dialogs.slider import Slider
from edgelm_tui.shell.text.plain import plain

_NO_NUMBERS = ("system", "thinking", "schema", "adapter", "adapter_scale")
_THINKING = {"model's choice": None, "think": True, "do not think": False}


class ChatSettingsScreen(Dialog[ChatSettings | None]):
    """Returns the changed settings, or None. Values are checked as they are typed.

    Args:
        adapters: directories of the adapters that may be put on the model.
    """

    DEFAULT_CSS = """
    ChatSettingsScreen > .frame { height: 100%; max-height: 34; }
    ChatSettingsScreen VerticalScroll { height: 1fr; }
    ChatSettingsScreen TextArea, ChatSettingsScreen TextArea:focus {
        height: 4; margin: 0 0 1 0; border: none; background: $panel; padding: 0 1;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Close", id="dialog.close"),
        Binding("ctrl+s", "take", "Save", id="dialog.take"),
    ]

    def __init__(
        self, settings: ChatSettings, adapters: Sequence[str], title: str = "Settings of this chat"
    ) -> None:
        super().__init__()
        self._settings = settings
        self._adapters = list(dict.fromkeys([*adapters, *([settings.adapter] if settings.adapter else [])]))
        self._title = title

    def compose(self) -> ComposeResult:
        """Make a row for each setting."""
        with Vertical(classes="frame") as box:
            box.border_title = self._title
            with VerticalScroll(can_focus=False):
                yield Label("System prompt")
                yield TextArea(self._settings.system, id="system")
                yield from self._personas()
                yield Label("Sampling: what is empty is as the model recommends")
                for name in (*_numbers(), "schema"):
                    yield self._row(name)
                yield from self._choices()
            yield Static("", id="problem", classes="problem", markup=False)
            yield ButtonRow({"close": "Close", "take": "Save (Ctrl+S)"})

    def _personas(self) -> ComposeResult:
        """A choice of a persona, where there are any; what it says can be changed below."""
        if names := persona_names():
            personas = Select(
                [(plain(name), name) for name in names], prompt="none", id="persona", compact=True
            )
            yield FormRow("persona", personas, note="a system prompt and sampling that edgelm personas saved")

    def _choices(self) -> ComposeResult:
        said = next(k for k, v in _THINKING.items() if v == self._settings.thinking)
        thinking = Select(
            [(k, k) for k in _THINKING], value=said, allow_blank=False, id="thinking", compact=True
        )
        yield FormRow("thinking", thinking, note=ChatSettings.bounds("thinking").help)
        options = [
            (plain("none"), ""),
            *((plain(path.rstrip("/").rpartition("/")[2]), path) for path in self._adapters),
        ]
        adapter = Select(options, value=self._settings.adapter, allow_blank=False, id="adapter", compact=True)
        yield FormRow("adapter", adapter, note="put on the model when the chat goes on")
        scale = Slider(self._settings.adapter_scale, low=0.0, high=2.0, step=0.05, id="adapter_scale")
        yield FormRow("adapter_scale", scale, note=ChatSettings.bounds("adapter_scale").help)

    def _row(self, name: str) -> FormRow:
        value = self._settings.value(name)
        bounds = ChatSettings.bounds(name)
        limits = bounds.describe()
        note = bounds.help + (f" ({limits})" if limits else "")
        return FormRow(name, Input("" if value is None else str(value), id=name, compact=True), note=note)

    def on_mount(self) -> None:
        """Begin at the top."""
        self.query_one("#system").focus()

    def on_input_changed(self) -> None:
        """Say at once what is wrong."""
        self._read()

    def on_select_changed(self, event: Select.Changed) -> None:
        """Show what a persona says, to be changed and saved."""
        if event.select.id != "persona" or not isinstance(event.value, str):
            return
        try:
            settings = with_persona(self._settings, event.value)
        except EdgeLMError as error:
            self.query_one("#problem", Static).update(f"error: {error.message}")
            return
        self.query_one("#system", TextArea).load_text(settings.system)
        for name in _numbers():
            value = settings.value(name)
            self.query_one(f"#{name}", Input).value = "" if value is None else str(value)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Return the settings, or close."""
        if event.button.id == "take":
            self.action_take()
        else:
            self.dismiss(None)

    def action_take(self) -> None:
        """Return the settings, if they are right."""
        settings = self._read()
        if settings is not None:
            self.dismiss(settings)

    def _read(self) -> ChatSettings | None:
        settings, problem = dataclasses.replace(self._settings, **self._values()), ""
        try:
            for name in _numbers():
                settings = settings.with_text(name, self.query_one(f"#{name}", Input).value)
            schema = checked_schema(self.query_one("#schema", Input).value)
            settings = dataclasses.replace(settings, schema=schema)
        except EdgeLMError as error:
            problem = f"error: {error.message}"
        self.query_one("#problem", Static).update(problem)
        return None if problem else settings

    def _values(self) -> dict[str, Any]:
        """Those that cannot be wrong."""
        return {
            "system": self.query_one("#system", TextArea).text.strip(),
            "thinking": _THINKING[str(self.query_one("#thinking", Select).value)],
            "adapter": str(self.query_one("#adapter", Select).value),
            "adapter_scale": self.query_one(Slider).value,
        }


def _numbers() -> list[str]:
    """The settings that are typed as numbers; empty is as the model recommends."""
    return [name for name in ChatSettings.names() if name not in _NO_NUMBERS]
