"""The settings of the app, and what a new chat begins with. They are written to config.toml."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Button, Input, Select, Static

from edgelm.conversation.settings import ChatSettings
from edgelm.errors import EdgeLMError
from edgelm_tui.screens.chat.settings_dialog import ChatSettingsScreen
from edgelm_tui.services.kept_settings import KeptSettings
from edgelm_tui.services.models import installed_adapters
from edgelm_tui.settings import THEMES, AppSettings, settings_file
from edgelm_tui.shell.dialogs.dialog import ButtonRow, Dialog, FormRow, Tick
from edgelm_tui.shell.text.shown_paths import with_tilde

_SWITCHES = {"sidebar": "List of chats", "show_thinking": "Open thoughts", "footer": "Line of keys"}
"""Setting → what it is called here."""


class PreferencesScreen(Dialog[None]):
    """Takes effect when it is taken; the theme at once."""

    DEFAULT_CSS = """
    PreferencesScreen > .frame { height: 100%; max-height: 20; }
    PreferencesScreen VerticalScroll { height: 1fr; }
    PreferencesScreen .file { color: $text-muted; height: auto; padding: 1 0 0 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Close", id="dialog.close"),
        Binding("ctrl+s", "take", "Save", id="dialog.take"),
    ]

    def __init__(self, settings: KeptSettings) -> None:
        super().__init__()
        self._settings = settings

    def compose(self) -> ComposeResult:
        """Make a row for each setting."""
        app = self._settings.app
        with Vertical(classes="frame") as box:
            box.border_title = "Preferences"
            with VerticalScroll(can_focus=False):
                colours = Select(
                    [(name, name) for name in THEMES],
                    value=app.theme, allow_blank=False, id="theme", compact=True,
                )  # fmt: skip
                yield FormRow("Colours", colours, note="shown at once; kept when saved")
                for name, label in _SWITCHES.items():
                    yield FormRow(label, Tick(getattr(app, name), id=name), note=_help(name))
                lines = Input(str(app.paste_lines), id="paste_lines", compact=True)
                yield FormRow("Long pastes", lines, note=_help("paste_lines"))
                yield Static(
                    f"Keys and all else: {with_tilde(settings_file())}", classes="file", markup=False
                )
            yield Static("", id="problem", classes="problem", markup=False)
            yield ButtonRow({"chats": "New chats…", "close": "Close", "take": "Save (Ctrl+S)"})

    def on_select_changed(self, event: Select.Changed) -> None:
        """Show the colours at once."""
        if event.select.id == "theme":
            self.app.theme = str(event.value)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Do what the button says."""
        match event.button.id:
            case "take":
                self.action_take()
            case "chats":
                self._open_chats()
            case _:
                self.action_leave()

    def action_leave(self) -> None:
        """Leave everything as it was."""
        self.app.theme = self._settings.app.theme
        self.dismiss(None)

    def action_take(self) -> None:
        """Keep the settings, if they are right."""
        try:
            app = self._read()
        except (EdgeLMError, ValueError) as error:
            message = error.message if isinstance(error, EdgeLMError) else "paste_lines is no number"
            self.query_one("#problem", Static).update(message)
            return
        self._settings.keep_app(app)
        self.dismiss(None)

    def _read(self) -> AppSettings:
        said = {name: self.query_one(f"#{name}", Tick).value for name in _SWITCHES}
        return dataclasses.replace(
            self._settings.app,
            theme=str(self.query_one("#theme", Select).value),
            paste_lines=int(self.query_one("#paste_lines", Input).value),
            **said,
        )

    def _open_chats(self) -> None:
        def take(chat: ChatSettings | None) -> None:
            if chat is not None:
                self._settings.keep_chat(chat)

        screen = ChatSettingsScreen(self._settings.chat, installed_adapters(), "Settings of new chats")
        self.app.push_screen(screen, take)


def _help(name: str) -> str:
    text: str = AppSettings.__dataclass_fields__[name].metadata["bounds"].help
    return text[0].upper() + text[1:]
