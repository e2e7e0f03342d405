"""The saved chats: by date or folder, searched in full."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from edgelm.store.chat_schema import ChatHead
from edgelm_tui.shell.rows import RowList


class ChatList(RowList):
    """The list, with keys for what can be done to a chat."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r,f2", "act('rename')", "Rename", id="sessions.rename"),
        Binding("d", "act('duplicate')", "Duplicate", id="sessions.duplicate"),
        Binding("f", "act('folder')", "Folder", id="sessions.folder"),
        Binding("x", "act('ask_delete')", "Delete", id="sessions.delete"),
        Binding("delete", "act('delete')", "Delete at once", id="sessions.delete_now", show=False),
        Binding("u", "act('undo')", "Undo", id="sessions.undo"),
        Binding("e", "act('export')", "Export", id="sessions.export"),
        Binding("i", "act('import')", "Import", id="sessions.import"),
        Binding("slash", "act('search')", "Search", id="sessions.search"),
    ]


class Sidebar(Vertical):
    """The search line above the list of chats."""

    DEFAULT_CSS = """
    Sidebar { width: 32; border-right: solid $border-blurred; display: none; }
    Sidebar.open { display: block; }
    Sidebar Input, Sidebar Input:focus {
        border: none; height: 1; padding: 0 1; margin: 0 0 1 0; background: $panel;
    }
    Sidebar ChatList, Sidebar ChatList:focus {
        height: 1fr; border: none; background: $background; padding: 0; text-wrap: nowrap; text-overflow: ellipsis;
    }
    Sidebar #nothing { color: $text-muted; padding: 0 1; height: auto; }
    """

    @dataclass
    class Searched(Message):
        """The words in the search line have changed."""

        query: str

    @dataclass
    class Opened(Message):
        """The user wants to read a chat."""

        session_id: int

    def __init__(self) -> None:
        super().__init__(id="sidebar")
        self._current: int | None = None

    def compose(self) -> ComposeResult:
        """Make the search line above the list."""
        yield Input(placeholder="Search all chats", id="search")
        yield Static("", id="nothing", markup=False)
        yield ChatList(id="sessions", markup=False)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Search at every letter."""
        event.stop()
        self.post_message(self.Searched(event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter goes to what was found."""
        event.stop()
        self.query_one(ChatList).focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Ask for the chat that was chosen."""
        event.stop()
        if event.option.id:
            self.post_message(self.Opened(int(event.option.id)))

    @property
    def search_words(self) -> str:
        """The words that are searched for."""
        return self.query_one(Input).value

    def show(self, sessions: Sequence[ChatHead], current: int | None) -> None:
        """Show these chats; the open one is marked."""
        rows = grouped(sessions, time.time(), searching=bool(self.search_words.strip()))
        listed = self.query_one(ChatList)
        kept = listed.row if current == self._current else current
        self._current = current
        listed.clear_options()
        listed.add_options(
            [
                _heading(title) if session is None else _row(session, session.id == current)
                for title, session in rows
            ]
        )
        at = next((i for i, (_, session) in enumerate(rows) if session and session.id == kept), None)
        listed.highlighted = at if at is not None else next((i for i, (_, s) in enumerate(rows) if s), None)
        nothing = self.query_one("#nothing", Static)
        nothing.update("" if sessions else "nothing found" if self.search_words.strip() else "no chats yet")
        nothing.display = not sessions


def grouped(
    sessions: Sequence[ChatHead], now: float, *, searching: bool = False
) -> list[tuple[str, ChatHead | None]]:
    """Put chats under headings: folders first, then by date; while searching, in one list."""
    if searching:
        return [("", session) for session in sessions]
    groups: dict[str, list[ChatHead]] = {}
    for session in sorted(sessions, key=lambda one: (one.folder is None, one.folder or "", -one.updated)):
        title = f"▪ {session.folder}" if session.folder else _age(session.updated, now)
        groups.setdefault(title, []).append(session)
    rows: list[tuple[str, ChatHead | None]] = []
    for title, members in groups.items():
        rows.append((title, None))
        rows += [(title, session) for session in members]
    return rows


def _age(updated: float, now: float) -> str:
    today = datetime.fromtimestamp(now).date()
    day = datetime.fromtimestamp(updated).date()
    if day >= today:
        return "Today"
    if day == today - timedelta(days=1):
        return "Yesterday"
    if day > today - timedelta(days=7):
        return "This week"
    return f"{day:%B %Y}"


def _heading(title: str) -> Option:
    return Option(Content.styled(title, "bold $foreground-muted"), disabled=True)


def _row(session: ChatHead, is_open: bool) -> Option:
    mark = "● " if is_open else "  "
    title = Content.assemble((mark, "bold"), _title(session))
    if session.snippet:
        before, _, rest = session.snippet.partition("\x02")
        found, _, after = rest.partition("\x03")
        snippet = Content.assemble("  ", before[-8:], (found, "bold"), after).stylize("$foreground-muted")
        return Option(Content("\n").join([title, snippet]), id=str(session.id))
    return Option(title, id=str(session.id))


def _title(session: ChatHead) -> str:
    """Return the title on one line; that it is a branch or a copy comes first, where a long title does not hide it."""
    title = " ".join(session.title.split())
    for ending in (" (branch)", " (copy)"):
        if title.endswith(ending):
            return f"{ending[2:-1]}: {title.removesuffix(ending)}"
    return title
