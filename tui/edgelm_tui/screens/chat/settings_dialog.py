"""The settings of one chat: system prompt, sampling, schema, adapter and its strength."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Button, Input, Label, Select, Static, TextArea

from edgelm.errors import EdgeLMError
from edgelm.options import Bounds
from edgelm_tui.engine.answering import checked_schema
from edgelm_tui.settings import ChatSettings
from edgelm_tui.shell.dialogs.dialog import ButtonRow, Dialog, FormRow
from edgelm_tui.shell.dialogs.slider import Slider
from edgelm_tui.shell.text.plain import plain

_NUMBERS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens", "seed")
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
        """One row a setting."""
        with Vertical(classes="frame") as box:
            box.border_title = self._title
            with VerticalScroll(can_focus=False):
                yield Label("System prompt")
                yield TextArea(self._settings.system, id="system")
                for name in (*_NUMBERS, "schema"):
                    yield self._row(name)
                yield from self._choices()
            yield Static("", id="problem", classes="problem", markup=False)
            yield ButtonRow({"close": "Close", "take": "Save (Ctrl+S)"})

    def _choices(self) -> ComposeResult:
        said = next(k for k, v in _THINKING.items() if v == self._settings.thinking)
        thinking = Select(
            [(k, k) for k in _THINKING], value=said, allow_blank=False, id="thinking", compact=True
        )
        yield FormRow("thinking", thinking, note=_bounds("thinking").help)
        options = [
            (plain("none"), ""),
            *((plain(path.rstrip("/").rpartition("/")[2]), path) for path in self._adapters),
        ]
        adapter = Select(options, value=self._settings.adapter, allow_blank=False, id="adapter", compact=True)
        yield FormRow("adapter", adapter, note="put on the model when the chat goes on")
        scale = Slider(self._settings.adapter_scale, low=0.0, high=2.0, step=0.05, id="adapter_scale")
        yield FormRow("adapter_scale", scale, note=_bounds("adapter_scale").help)

    def _row(self, name: str) -> FormRow:
        value = getattr(self._settings, name)
        limits = _bounds(name).describe()
        note = _bounds(name).help + (f" ({limits})" if limits else "")
        return FormRow(name, Input("" if value is None else str(value), id=name, compact=True), note=note)

    def on_mount(self) -> None:
        """Begin at the top."""
        self.query_one("#system").focus()

    def on_input_changed(self) -> None:
        """Say at once what is wrong."""
        self._read()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Either button."""
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
            for name in _NUMBERS:
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


def _bounds(name: str) -> Bounds:
    bounds: Bounds = ChatSettings.__dataclass_fields__[name].metadata["bounds"]
    return bounds
