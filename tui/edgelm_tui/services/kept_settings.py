"""The settings in use, and writing them down. Knows no widget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from edgelm.conversation.settings import ChatSettings
from edgelm_tui.services.notices import Notices
from edgelm_tui.settings import AppSettings, Settings, read_settings, settings_file, write_settings


class KeptSettings:
    """What config.toml says, or was last told to say.

    Args:
        notices: told when the file cannot be written.

    Attributes:
        all: every setting.
        problem: what was wrong with the file when it was read, None if nothing was.
        on_change: called with the settings that are in use from now on.
    """

    def __init__(self, notices: Notices) -> None:
        self._notices = notices
        self.all, self.problem = read_settings(settings_file())
        self.on_change: Callable[[Settings], None] = lambda _: None

    @property
    def app(self) -> AppSettings:
        """How the app looks and behaves."""
        return self.all.app

    @property
    def chat(self) -> ChatSettings:
        """What a new chat begins with."""
        return self.all.chat

    def keep_app(self, app: AppSettings) -> None:
        """Use other settings of the app, and write them down."""
        self._keep(replace(self.all, app=app))

    def keep_chat(self, chat: ChatSettings) -> None:
        """Let new chats begin with other settings, and write them down."""
        self._keep(replace(self.all, chat=chat))

    def use_theme(self, name: str) -> None:
        """Change the colours, and write that down."""
        self.keep_app(replace(self.app, theme=name))

    def _keep(self, settings: Settings) -> None:
        self.all = settings
        self.on_change(settings)
        with self._notices.reporting():
            write_settings(settings, settings_file())
