"""Does what a line that begins with a slash says."""

from __future__ import annotations

import dataclasses

from edgelm.conversation.commands import ALIASES, COMMANDS, is_command, unknown_command
from edgelm.conversation.feedback import write_feedback
from edgelm.conversation.settings import ChatSettings
from edgelm.errors import OptionError
from edgelm_tui.screens.chat.chat_actions import ChatActions
from edgelm_tui.screens.chat.composer import Composer
from edgelm_tui.screens.chat.message_actions import MessageActions
from edgelm_tui.screens.chat.open_chat import OpenChat
from edgelm_tui.services.models import installed_adapters
from edgelm_tui.settings import THEMES

_OF_CHATS = ("/rename", "/folder", "/duplicate", "/delete", "/undo", "/export", "/import")
_OF_MESSAGES = {"/retry": "regenerate", "/continue": "continue"}


class SlashCommands:
    """Obeys commands in an open chat."""

    def __init__(
        self, chat: OpenChat, composer: Composer, messages: MessageActions, chats: ChatActions
    ) -> None:
        self._chat, self._composer = chat, composer
        self._messages, self._chats = messages, chats

    async def obey(self, line: str, name: str, rest: str) -> None:
        """Do one command. A line that is no command stays; one that failed is what the arrow keys bring back."""
        if not is_command(name):
            with self._chat.services.notices.reporting():
                raise unknown_command(name, COMMANDS)
            return
        self._composer.clear()
        if not await self._try(ALIASES.get(name, name), rest):
            self._chat.prompt.remember(line)

    async def _try(self, name: str, rest: str) -> bool:
        with self._chat.services.notices.reporting():
            if name in _OF_CHATS:
                return await self._chats.act_on(name[1:], self._chat.session_id, rest)
            if name in _OF_MESSAGES:
                return await self._messages.act_on_target(_OF_MESSAGES[name])
            await self._do(name, rest)
            return True
        return False

    async def _do(self, name: str, rest: str) -> None:
        chat, services = self._chat, self._chat.services
        match name:
            case "/new":
                await self.begin_new()
            case "/model" if rest:
                services.models.load(rest)
            case "/model":
                services.navigation.choose_model()
            case "/system" if rest:
                chat.keep_settings(dataclasses.replace(chat.settings, system=rest))
                chat.screen.notify("the system prompt is set")
            case "/system" | "/settings":
                self.open_settings()
            case "/attach":
                await self._composer.attach_named(rest)
            case "/editor":
                self._composer.edit()
            case "/copy":
                action = "code" if rest else "copy"
                await self._messages.act_on_target(action, int(rest) if rest.isdecimal() else 0)
            case "/feedback":
                chat.screen.notify(write_feedback(chat.chats, rest))
            case "/search":
                self._chats.search(rest)
            case "/help":
                await chat.screen.run_action("app.help")
            case "/theme":
                self._theme(rest)
            case "/quit":
                await chat.screen.run_action("app.leave")
            case _:
                raise unknown_command(name, COMMANDS)

    async def begin_new(self) -> None:
        """Begin a new chat."""
        with self._chat.services.notices.reporting():
            await self._chat.open(None)
            self._chat.prompt.focus()

    def open_settings(self) -> None:
        """Open the settings of this chat."""
        from edgelm_tui.screens.chat.settings_dialog import ChatSettingsScreen

        def take(settings: ChatSettings | None) -> None:
            if settings is not None:
                with self._chat.services.notices.reporting():
                    self._chat.keep_settings(settings)

        dialog = ChatSettingsScreen(self._chat.settings, installed_adapters())
        self._chat.screen.app.push_screen(dialog, take)

    def _theme(self, name: str) -> None:
        services = self._chat.services
        if name in THEMES:
            services.settings.use_theme(name)
        elif name:
            raise OptionError(f"there is no theme {name!r}, expected one of {', '.join(THEMES)}")
        else:
            from edgelm_tui.shell.dialogs.questions import Choose

            def chosen(theme: str | None) -> None:
                if theme is not None:
                    services.settings.use_theme(theme)

            app = self._chat.screen.app
            app.push_screen(Choose("Colours", THEMES, app.theme), chosen)
