"""What can be done with chats: open, search, rename, folders, duplicate, delete with undo, export, import."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from textual.widgets import Input

from edgelm.conversation.branching import file_name
from edgelm.conversation.typed_paths import path_of
from edgelm.errors import NotFoundError
from edgelm_tui.screens.chat.base import ChatBase
from edgelm_tui.screens.chat.sidebar import SessionList, Sidebar
from edgelm_tui.shell.rows import RowList


class SessionActions(ChatBase):
    """A part of the chat screen."""

    async def on_sidebar_opened(self, event: Sidebar.Opened) -> None:
        """Enter or a click in the list."""
        with self.edgelm.reporting():
            await self.open(event.session_id)
            self.prompt.focus()
            if not self.has_class("-wide"):
                self.query_one(Sidebar).remove_class("open")

    def on_sidebar_searched(self, event: Sidebar.Searched) -> None:
        """Each letter."""
        with self.edgelm.reporting():
            self.show_sessions()

    async def on_row_list_act(self, event: RowList.Act) -> None:
        """A key in the list."""
        event.stop()
        action = event.action
        if action != "ask_delete":
            self.disarm()
        elif event.row is None or self.armed(("chat", event.row), "x again deletes this chat"):
            action = "delete"
        if action != "ask_delete":
            await self.do_to_session(action, event.row)

    async def action_session(self, action: str) -> None:
        """Do something to the open chat."""
        await self.do_to_session(action, self.session_id)

    async def do_to_session(self, action: str, session_id: int | None, argument: str = "") -> bool:
        """Do `action`; what fails is said, and then False."""
        with self.edgelm.reporting():
            return await self._do(action, session_id, argument)
        return False

    async def _do(self, action: str, session_id: int | None, argument: str) -> bool:
        match action:
            case "undo":
                await self._undo_last()
            case "search":
                self.action_search()
            case "import":
                await self._ask_line("Open a chat from a .md or .json file", self._import, argument)
            case _ if session_id is None:
                self.notify("this chat is not saved yet: it has no message", severity="warning")
                return False
            case "rename":
                title = self.chats.session(session_id).title
                await self._ask_line("Title", lambda text: self._rename(session_id, text), argument, title)
            case "folder":
                now = self.chats.session(session_id).folder or ""
                known = ", ".join(self.chats.folders())
                question = "Folder; empty takes the chat out" + (f" (there are: {known})" if known else "")
                await self._ask_line(question, lambda text: self._move(session_id, text), argument, now)
            case "duplicate":
                await self.open(self.chats.duplicate(session_id).id)
            case "delete":
                await self._delete_session(session_id)
            case "export":
                name = file_name(self.chats.session(session_id).title)
                await self._ask_line(
                    "Write the chat to (.md or .json)",
                    lambda text: self._export(session_id, text),
                    argument,
                    name,
                )
        return True

    async def open(self, session_id: int | None) -> None:
        """Show another chat; None begins a new one. What was typed stays with its chat."""
        self.save_draft()
        if self.attachments:
            self._kept[self.ensure_session()] = self.attachments
        self.session_id = session_id
        self.attachments = self._kept.pop(session_id, []) if session_id is not None else []
        self._new_settings = None
        draft = self.chats.session(session_id).draft if session_id is not None else ""
        self.prompt.say(draft)
        await self.transcript.clear_notices()
        await self.reload()
        self.transcript.follow()

    async def leave_if_deleted(self) -> None:
        """Another process has deleted the open chat: what is typed and attached goes on in a new one."""
        if self.session_id is None or self._is_there(self.session_id):
            return
        self.session_id = None
        await self.reload()
        self.notify("this chat was deleted elsewhere; what is typed is for a new one now", severity="warning")

    async def reload_changed(self) -> None:
        """Show what another process has made of the open chat."""
        await self.leave_if_deleted()
        await self.reload()

    def _is_there(self, session_id: int) -> bool:
        try:
            return self.chats.session(session_id).deleted is None
        except NotFoundError:
            return False

    def save_draft(self) -> None:
        """Keep what is typed and not sent."""
        if not self.is_whole:
            return
        text = self.prompt.text
        if self.session_id is None and text.strip():
            self.ensure_session()
        if self.session_id is not None and self.chats.session(self.session_id).draft != text:
            self.chats.set_draft(self.session_id, text)

    async def action_new(self) -> None:
        """A new chat."""
        with self.edgelm.reporting():
            await self.open(None)
            self.prompt.focus()

    def action_sidebar(self) -> None:
        """Show or hide the chats."""
        sidebar = self.query_one(Sidebar)
        sidebar.toggle_class("open")
        if sidebar.has_class("open"):
            with self.edgelm.reporting():
                self.show_sessions()
        else:
            self.prompt.focus()

    def action_sessions(self) -> None:
        """Go to the chats."""
        self.query_one(Sidebar).add_class("open")
        with self.edgelm.reporting():
            self.show_sessions()
        self.query_one(SessionList).focus()

    def action_search(self, words: str = "") -> None:
        """Search all chats."""
        self.action_sessions()
        line = self.query_one("#search", Input)
        if words:
            line.value = words
        line.focus()

    async def _ask_line(
        self, question: str, take: Callable[[str], Awaitable[None]], given: str, value: str = ""
    ) -> None:
        from edgelm_tui.shell.dialogs.questions import AskLine

        async def taken(text: str | None) -> None:
            if text is not None:
                with self.edgelm.reporting():
                    await take(text)

        if given:
            await take(given)
        else:
            self.app.push_screen(AskLine(question, value), taken)

    async def _rename(self, session_id: int, title: str) -> None:
        self.chats.rename(session_id, title)
        self.show_sessions()

    async def _move(self, session_id: int, folder: str) -> None:
        self.chats.move(session_id, folder.strip() or None)
        self.show_sessions()

    async def _export(self, session_id: int, name: str) -> None:
        from edgelm.store.chat_files import export_chat

        file = path_of(name)
        export_chat(self.chats, session_id, file)
        self.notify(f"written to {file}")

    async def _import(self, name: str) -> None:
        from edgelm.store.chat_files import import_chat

        await self.open(import_chat(self.chats, path_of(name)).id)

    async def _delete_session(self, session_id: int) -> None:
        if self.desk.current is not None and self.desk.current.session_id == session_id:
            self.edgelm.stop_answer()
        title = self.chats.session(session_id).title
        self.deletions.chat(session_id)
        if session_id == self.session_id:
            self.prompt.say("")
            self._kept[session_id], self.attachments = self.attachments, []
            self.session_id = None
            await self.reload()
        self.show_sessions()
        self.notify(f"“{title}” is deleted; u or /undo brings it back")

    async def _undo_last(self) -> None:
        session_id = self.deletions.undo()
        if session_id == self.session_id:
            await self.reload()
        else:
            await self.open(session_id)
