"""What an empty chat shows: the model, the chats that were written to last, and four keys."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.events import Click
from textual.widgets import Static

from edgelm.store.chat_schema import ChatHead
from edgelm_tui.screens.chat.sidebar import Sidebar

_CHATS = 5
_KEYS = (("Enter", "sends"), ("^S", "all chats"), ("^L", "models"), ("F1", "help"))


class RecentChat(Static):
    """A chat; a click opens it."""

    DEFAULT_CSS = """
    RecentChat { height: 1; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; color: $text-accent; }
    RecentChat:hover { background: $boost; }
    """

    def __init__(self, session: ChatHead) -> None:
        super().__init__(" ".join(session.title.split()), markup=False)
        self.session_id = session.id

    def on_click(self, event: Click) -> None:
        """Ask the screen to open the chat."""
        event.stop()
        self.post_message(Sidebar.Opened(self.session_id))


class ChatOpening(Vertical):
    """A few lines, gone with the first message."""

    DEFAULT_CSS = """
    ChatOpening { height: auto; padding: 0 1; display: none; }
    ChatOpening .words { height: auto; padding: 0 1; color: $text-muted; }
    ChatOpening > .words { margin: 0 0 1 0; }
    ChatOpening > #chats { height: auto; margin: 0 0 1 0; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._shown: tuple[str, tuple[tuple[int, str], ...]] = ("", ())

    def compose(self) -> ComposeResult:
        """Make room for the model, the chats and the keys."""
        yield Static("", id="model", classes="words", markup=False)
        yield Vertical(id="chats")
        keys = [part for key, does in _KEYS for part in ((key, "bold $text"), f" {does}   ")]
        yield Static(Content.assemble(*keys), classes="words", markup=False)

    async def show(self, model: str, sessions: Sequence[ChatHead]) -> None:
        """Show a model and chats; nothing is touched where nothing has changed."""
        latest = sessions[:_CHATS]
        now = (model, tuple((session.id, session.title) for session in latest))
        if now == self._shown:
            return
        self._shown = now
        self.query_one("#model", Static).update(model)
        chats = self.query_one("#chats", Vertical)
        await chats.remove_children()
        title = [Static("Chats", classes="words", markup=False)] if latest else []
        await chats.mount_all([*title, *(RecentChat(session) for session in latest)])
