"""The settings of the app, and what a new chat begins with. They are written to config.toml."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Select, Static, Switch

from edgelm.errors import EdgeLMError
from edgelm_tui.chat.settings import ChatSettingsScreen
from edgelm_tui.settings import THEMES, AppSettings, ChatSettings, Settings, settings_file
from edgelm_tui.shell.shown_paths import with_tilde

if TYPE_CHECKING:
    from edgelm_tui.app import EdgeLMApp

_SWITCHES = ("sidebar", "show_thinking", "footer")


class PreferencesScreen(ModalScreen[None]):
    """Takes effect when it is taken; the theme at once."""

    DEFAULT_CSS = """
    PreferencesScreen { align: center middle; }
    PreferencesScreen > Vertical {
        width: 90%; max-width: 86; height: auto; max-height: 90%; border: round $primary; background: $surface; padding: 0 1;
    }
    PreferencesScreen VerticalScroll { height: auto; max-height: 100%; }
    PreferencesScreen .row { height: 3; }
    PreferencesScreen .row Label { width: 1fr; padding: 1 1 0 0; }
    PreferencesScreen .row Select, PreferencesScreen .row Input { width: 26; }
    PreferencesScreen .note { color: $text-muted; height: auto; }
    PreferencesScreen #problem { color: $text-error; height: auto; }
    PreferencesScreen #buttons { height: 3; align-horizontal: right; }
    PreferencesScreen Button { margin: 0 0 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Close", id="dialog.close"),
        Binding("ctrl+s", "take", "Take it", id="dialog.take"),
    ]

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings

    @property
    def edgelm(self) -> EdgeLMApp:
        """The app, as what it is."""
        return cast("EdgeLMApp", self.app)

    def compose(self) -> ComposeResult:
        """One row a setting."""
        app = self._settings.app
        with Vertical() as box:
            box.border_title = "Preferences"
            with VerticalScroll():
                with Horizontal(classes="row"):
                    yield Label("Colours")
                    yield Select(
                        [(name, name) for name in THEMES], value=app.theme, allow_blank=False, id="theme"
                    )
                for name in _SWITCHES:
                    with Horizontal(classes="row"):
                        yield Label(_help(name))
                        yield Switch(getattr(app, name), id=name)
                with Horizontal(classes="row"):
                    yield Label(_help("paste_lines"))
                    yield Input(str(app.paste_lines), id="paste_lines")
                yield Static(
                    f"Keys and all else: {with_tilde(settings_file())}", classes="note", markup=False
                )
            yield Static("", id="problem", markup=False)
            with Horizontal(id="buttons"):
                yield Button("New chats…", id="chats")
                yield Button("Close", id="close")
                yield Button("Take it (Ctrl+S)", variant="primary", id="take")

    def on_select_changed(self, event: Select.Changed) -> None:
        """Show the colours at once."""
        if event.select.id == "theme":
            self.app.theme = str(event.value)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """One of three."""
        match event.button.id:
            case "take":
                self.action_take()
            case "chats":
                self._open_chats()
            case _:
                self.action_leave()

    def action_leave(self) -> None:
        """As it was."""
        self.app.theme = self.edgelm.settings.app.theme
        self.dismiss(None)

    def action_take(self) -> None:
        """Keep the settings, if they are right."""
        try:
            app = self._read()
        except (EdgeLMError, ValueError) as error:
            message = error.message if isinstance(error, EdgeLMError) else "paste_lines is no number"
            self.query_one("#problem", Static).update(message)
            return
        self.edgelm.keep_settings(dataclasses.replace(self.edgelm.settings, app=app))
        self.dismiss(None)

    def _read(self) -> AppSettings:
        said = {name: self.query_one(f"#{name}", Switch).value for name in _SWITCHES}
        return dataclasses.replace(
            self._settings.app,
            theme=str(self.query_one("#theme", Select).value),
            paste_lines=int(self.query_one("#paste_lines", Input).value),
            **said,
        )

    def _open_chats(self) -> None:
        def take(chat: ChatSettings | None) -> None:
            if chat is not None:
                self.edgelm.keep_settings(dataclasses.replace(self.edgelm.settings, chat=chat))

        screen = ChatSettingsScreen(
            self.edgelm.settings.chat, self.edgelm.adapters(), "Settings of new chats"
        )
        self.app.push_screen(screen, take)


def _help(name: str) -> str:
    text: str = AppSettings.__dataclass_fields__[name].metadata["bounds"].help
    return text[0].upper() + text[1:]
