"""Does what a line that begins with a slash says."""

from __future__ import annotations

import dataclasses

from edgelm.conversation.attachments import files_named
from edgelm.conversation.commands import ALIASES, COMMANDS, unknown_command, write_feedback
from edgelm.errors import OptionError
from edgelm.store.chat_schema import Attachment
from edgelm_tui.screens.chat.chat_actions import SessionActions
from edgelm_tui.screens.chat.message_actions import MessageActions
from edgelm_tui.settings import ChatSettings

_SESSION = ("/rename", "/folder", "/duplicate", "/delete", "/undo", "/export", "/import")
_MESSAGE = {"/retry": "regenerate", "/continue": "continue"}


class SlashCommands(MessageActions, SessionActions):
    """A part of the chat screen."""

    async def obey(self, name: str, rest: str) -> bool:
        """Do one command; what fails is said, and then False."""
        name = ALIASES.get(name, name)
        with self.edgelm.reporting():
            if name in _SESSION:
                return await self.do_to_session(name[1:], self.session_id, rest)
            if name in _MESSAGE:
                return await self.action_message(_MESSAGE[name])
            await self._obey(name, rest)
            return True
        return False

    async def _obey(self, name: str, rest: str) -> None:
        match name:
            case "/new":
                await self.action_new()
            case "/model":
                self._model(rest)
            case "/system" if rest:
                self.keep_settings(dataclasses.replace(self.chat_settings, system=rest))
                self.notify("the system prompt is set")
            case "/system" | "/settings":
                self.action_settings()
            case "/attach":
                await self._attach_file(rest)
            case "/editor":
                await self.run_action("editor")
            case "/copy":
                await self.action_message("code" if rest else "copy", int(rest) if rest.isdecimal() else 0)
            case "/feedback":
                self._feedback(rest)
            case "/search":
                self.action_search(rest)
            case "/help":
                self.edgelm.action_help()
            case "/theme":
                self._theme(rest)
            case "/quit":
                self.edgelm.action_leave()
            case _:
                raise unknown_command(name, COMMANDS)

    def _theme(self, name: str) -> None:
        names = self.edgelm.theme_names
        if name in names:
            self.edgelm.use_theme(name)
        elif name:
            raise OptionError(f"there is no theme {name!r}, expected one of {', '.join(names)}")
        else:
            from edgelm_tui.shell.dialogs.questions import Choose

            def chosen(theme: str | None) -> None:
                if theme is not None:
                    self.edgelm.use_theme(theme)

            self.app.push_screen(Choose("Colours", names, self.app.theme), chosen)

    def _model(self, name: str) -> None:
        if name:
            self.edgelm.load_model(name)
        else:
            self.edgelm.action_models()

    async def _attach_file(self, name: str) -> None:
        self.attachments += files_named(name)
        await self.show_waiting()

    def attach_text(self, text: str) -> None:
        """A long paste."""
        number = sum(file.name.startswith("paste ") for file in self.attachments) + 1
        self.attachments.append(Attachment(f"paste {number}", text))

    def _feedback(self, rest: str) -> None:
        self.notify(write_feedback(self.chats, rest))

    def action_settings(self) -> None:
        """Open the settings of this chat."""
        from edgelm_tui.screens.chat.settings_dialog import ChatSettingsScreen

        def take(settings: ChatSettings | None) -> None:
            if settings is not None:
                with self.edgelm.reporting():
                    self.keep_settings(settings)

        self.app.push_screen(ChatSettingsScreen(self.chat_settings, self.edgelm.adapters()), take)

    def adopt_adapter(self, adapter: str) -> None:
        """Give a new chat an adapter."""
        self._new_settings = dataclasses.replace(self.chat_settings, adapter=adapter)

    def keep_settings(self, settings: ChatSettings) -> None:
        """Keep them with the chat; another adapter is put on the model at once."""
        if self.session_id is None:
            self._new_settings = settings
        else:
            self.chats.set_settings(self.session_id, settings.changes(self.edgelm.settings.chat))
        self.edgelm.use_adapter(settings.adapter)
        self.show_meter()
