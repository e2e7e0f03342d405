"""The settings of one chat: system prompt, sampling, schema, adapter and its strength."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Select, Static, TextArea

from edgelm.errors import EdgeLMError
from edgelm.options import Bounds
from edgelm_tui.settings import ChatSettings
from edgelm_tui.shell.plain import plain
from edgelm_tui.shell.slider import Slider

_NUMBERS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens", "seed")
_THINKING = {"as the model likes": None, "think": True, "do not think": False}


class ChatSettingsScreen(ModalScreen[ChatSettings | None]):
    """Returns the changed settings, or None. Values are checked as they are typed.

    Args:
        adapters: directories of the adapters that may be put on the model.
    """

    DEFAULT_CSS = """
    ChatSettingsScreen { align: center middle; }
    ChatSettingsScreen > Vertical {
        width: 90%; max-width: 90; height: 90%; border: round $primary; background: $surface; padding: 0 1;
    }
    ChatSettingsScreen TextArea { height: 5; }
    ChatSettingsScreen .row { height: 3; }
    ChatSettingsScreen .row Label { width: 22; padding: 1 1 0 0; }
    ChatSettingsScreen .row Input { width: 1fr; }
    ChatSettingsScreen .row Select { width: 1fr; }
    ChatSettingsScreen .row Static { width: 2fr; padding: 1 0 0 1; color: $text-muted; }
    ChatSettingsScreen #problem { color: $text-error; height: auto; }
    ChatSettingsScreen #buttons { height: 3; align-horizontal: right; }
    ChatSettingsScreen Button { margin: 0 0 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Close", id="dialog.close"),
        Binding("ctrl+s", "take", "Take it", id="dialog.take"),
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
        with Vertical() as box:
            box.border_title = self._title
            with VerticalScroll():
                yield Label("System prompt")
                yield TextArea(self._settings.system, id="system")
                for name in _NUMBERS:
                    yield from self._row(name)
                yield from self._row("schema")
                with Horizontal(classes="row"):
                    yield Label("thinking")
                    said = next(k for k, v in _THINKING.items() if v == self._settings.thinking)
                    yield Select([(k, k) for k in _THINKING], value=said, allow_blank=False, id="thinking")
                with Horizontal(classes="row"):
                    yield Label("adapter")
                    options = [
                        (plain("none"), ""),
                        *((plain(path.rstrip("/").rpartition("/")[2]), path) for path in self._adapters),
                    ]
                    yield Select(options, value=self._settings.adapter, allow_blank=False, id="adapter")
                with Horizontal(classes="row"):
                    yield Label("adapter_scale")
                    yield Slider(
                        self._settings.adapter_scale, low=0.0, high=2.0, step=0.05, id="adapter_scale"
                    )
            yield Static("", id="problem", markup=False)
            with Horizontal(id="buttons"):
                yield Button("Close", id="close")
                yield Button("Take it (Ctrl+S)", variant="primary", id="take")

    def _row(self, name: str) -> ComposeResult:
        value = getattr(self._settings, name)
        bounds: Bounds = ChatSettings.__dataclass_fields__[name].metadata["bounds"]
        limits = bounds.describe()
        with Horizontal(classes="row"):
            yield Label(name)
            yield Input("" if value is None else str(value), id=name)
            yield Static(bounds.help + (f" ({limits})" if limits else ""), markup=False)

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
        except EdgeLMError as error:
            problem = error.message
        self.query_one("#problem", Static).update(problem)
        return None if problem else settings

    def _values(self) -> dict[str, Any]:
        """Those that cannot be wrong."""
        return {
            "system": self.query_one("#system", TextArea).text.strip(),
            "schema": self.query_one("#schema", Input).value.strip(),
            "thinking": _THINKING[str(self.query_one("#thinking", Select).value)],
            "adapter": str(self.query_one("#adapter", Select).value),
            "adapter_scale": self.query_one(Slider).value,
        }
