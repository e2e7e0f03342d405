"""What can be done with chats: search, rename, folders, duplicate, delete with undo, export, import."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from textual.widgets import Input

from edgelm.conversation.typed_paths import path_of
from edgelm_tui.screens.chat.open_chat import OpenChat
from edgelm_tui.screens.chat.sidebar import ChatList


class ChatActions:
    """Does things to saved chats, from the one that is open."""

    def __init__(self, chat: OpenChat) -> None:
        self._chat = chat

    async def act_on_row(self, action: str, session_id: int | None) -> None:
        """Do what a key in the list says."""
        if action != "ask_delete":
            self._chat.disarm()
        elif session_id is not None and not self._chat.armed(
            ("chat", session_id), "x again deletes this chat"
        ):
            return
        await self.act_on("delete" if action == "ask_delete" else action, session_id)

    async def act_on(self, action: str, session_id: int | None, argument: str = "") -> bool:
        """Do `action` to a chat; what fails is said, and then False."""
        with self._chat.services.notices.reporting():
            return await self._do(action, session_id, argument)
        return False

    async def _do(self, action: str, session_id: int | None, argument: str) -> bool:
        chats = self._chat.chats
        match action:
            case "undo":
                await self._undo()
            case "search":
                self.search()
            case "import":
                await self._ask_line("Open a chat from a .md or .json file", self._import, argument)
            case _ if session_id is None:
                self._chat.screen.notify("this chat is not saved yet: it has no message", severity="warning")
                return False
            case "rename":
                title = chats.session(session_id).title
                await self._ask_line("Title", lambda text: self._rename(session_id, text), argument, title)
            case "folder":
                now = chats.session(session_id).folder or ""
                known = ", ".join(chats.folders())
                question = "Folder; empty takes the chat out" + (f" (there are: {known})" if known else "")
                await self._ask_line(question, lambda text: self._move(session_id, text), argument, now)
            case "duplicate":
                await self._chat.open(chats.duplicate(session_id).id)
            case "delete":
                await self._delete(session_id)
            case "export":
                await self._ask_export(session_id, argument)
        return True

    def list_chats(self) -> None:
        """Show the chats, and go to them."""
        self._chat.sidebar.add_class("open")
        with self._chat.services.notices.reporting():
            self._chat.show_sessions()
        self._chat.screen.query_one(ChatList).focus()

    def toggle_list(self) -> None:
        """Show or hide the chats."""
        self._chat.sidebar.toggle_class("open")
        if self._chat.sidebar.has_class("open"):
            with self._chat.services.notices.reporting():
                self._chat.show_sessions()
        else:
            self._chat.prompt.focus()

    def search(self, words: str = "") -> None:
        """Search all chats."""
        self.list_chats()
        line = self._chat.screen.query_one("#search", Input)
        if words:
            line.value = words
        line.focus()

    async def _ask_line(
        self, question: str, take: Callable[[str], Awaitable[None]], given: str, value: str = ""
    ) -> None:
        from edgelm_tui.shell.dialogs.questions import AskLine

        async def taken(text: str | None) -> None:
            if text is not None:
                with self._chat.services.notices.reporting():
                    await take(text)

        if given:
            await take(given)
        else:
            self._chat.screen.app.push_screen(AskLine(question, value), taken)

    async def _rename(self, session_id: int, title: str) -> None:
        self._chat.chats.rename(session_id, title)
        self._chat.show_sessions()

    async def _move(self, session_id: int, folder: str) -> None:
        self._chat.chats.move(session_id, folder.strip() or None)
        self._chat.show_sessions()

    async def _ask_export(self, session_id: int, given: str) -> None:
        from edgelm.store.chat_files import export_chat, export_name

        chats = self._chat.chats

        async def export(text: str) -> None:
            file = path_of(text)
            export_chat(chats, session_id, file)
            self._chat.screen.notify(f"written to {file}")

        name = export_name(chats.session(session_id).title)
        await self._ask_line("Write the chat to (.md or .json)", export, given, name)

    async def _import(self, name: str) -> None:
        from edgelm.store.chat_files import import_chat

        await self._chat.open(import_chat(self._chat.chats, path_of(name)).id)

    async def _delete(self, session_id: int) -> None:
        chat = self._chat
        if chat.services.desk.current is not None and chat.services.desk.current.session_id == session_id:
            chat.services.waiting.stop_answer()
        title = chat.chats.session(session_id).title
        chat.conversation.deletions.chat(session_id)
        chat.services.waiting.forget(session_id)
        if session_id == chat.session_id:
            chat.conversation.save_attachments()
            chat.prompt.say("")
            chat.conversation.open(None)
            await chat.reload()
        chat.show_sessions()
        chat.screen.notify(f"“{title}” is deleted; u or /undo brings it back")

    async def _undo(self) -> None:
        session_id = self._chat.conversation.deletions.undo()
        if session_id == self._chat.session_id:
            await self._chat.reload()
        else:
            await self._chat.open(session_id)
