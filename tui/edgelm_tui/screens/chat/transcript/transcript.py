"""The messages of a conversation, of which only the last ones are widgets until the reader scrolls up.

Follows the end while there is something new, and lets go when the reader scrolls away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from edgelm.store.chat_schema import Message
from edgelm.store.saved_to_messages import left_out
from edgelm_tui.screens.chat.opening import ChatOpening
from edgelm_tui.screens.chat.transcript.view import MessageView

_FIRST = 10
"""Messages that are shown at once."""
_WINDOW = 40
"""Messages that follow them without being asked for."""
_MORE = 10
"""Messages that are added at a time."""
_NEAR_TOP = 3
_BATCH_S = 0.05


class Transcript(VerticalScroll, can_focus=False):
    """The messages of a conversation."""

    DEFAULT_CSS = """
    Transcript { layout: stream; padding: 1 1 0 1; height: 1fr; }
    Transcript #earlier { color: $text-muted; text-align: center; margin: 0 0 1 0; display: none; height: 1; }
    Transcript .notice { color: $text-muted; padding: 0 1; margin: 0 0 1 0; height: auto; }
    Transcript .notice.error { color: $text-error; }
    """
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(self) -> None:
        super().__init__(id="transcript")
        self._hidden: list[Message] = []
        self._places: dict[int, tuple[int, int]] = {}
        self._left_out: set[int] = set()
        self._lock = asyncio.Lock()
        self.open_thinking = False

    def compose(self) -> ComposeResult:
        """Make what stands there before the first message."""
        yield ChatOpening()

    def on_mount(self) -> None:
        """Follow the end of the conversation."""
        self.anchor()
        self.set_interval(_BATCH_S, self._fill)

    @property
    def views(self) -> list[MessageView]:
        """The messages that are widgets, in order."""
        return list(self.query_children(MessageView))

    def view_of(self, message_id: int) -> MessageView | None:
        """Find the widget of a message."""
        return next((view for view in self.views if view.message.id == message_id), None)

    async def show(
        self, path: Sequence[Message], places: dict[int, tuple[int, int]], focus: int | None = None
    ) -> None:
        """Show a path of messages; those that are there already stay as they are.

        The focus goes to the message `focus`; else, from one that goes away, to the one that comes in its place, before it
        goes: a key never reaches a neighbour.
        """
        async with self._lock:
            if not self.is_attached:
                return
            views = self.views
            first = views[0].message.id if views else None
            kept_from = next((at for at, message in enumerate(path) if message.id == first), None)
            if kept_from is None:
                kept_from = max(len(path) - _FIRST, 0)
            shown = list(path[kept_from:])
            same = 0
            while same < min(len(views), len(shown)) and views[same].message.id == shown[same].id:
                same += 1
            if same == 0:
                kept_from = max(len(path) - _FIRST, 0)
                shown = list(path[kept_from:])
            if path:
                self.query_one(ChatOpening).display = False
            self._hidden, self._places, self._left_out = list(path[:kept_from]), places, left_out(path)
            for view, message in zip(views[:same], shown, strict=False):
                self._renew(view, message)
            made = [self._made(message) for message in shown[same:]]
            with self.app.batch_update():
                await self.mount_all(made)
                if self.is_attached:
                    self._pass_focus([*views[:same], *made], views[same:], same, focus)
                    await self.remove_children(views[same:])
            self._say_hidden()

    def _pass_focus(
        self, shown: Sequence[MessageView], gone: Sequence[MessageView], same: int, focus: int | None
    ) -> None:
        focused = self.screen.focused
        heir = next((view for view in shown if view.message.id == focus), None)
        if heir is None and isinstance(focused, MessageView) and focused in gone:
            at = same + gone.index(focused)
            heir = shown[min(at, len(shown) - 1)] if shown else None
            self.screen.set_focus(heir, scroll_visible=False)
        elif heir is not None:
            self.screen.set_focus(heir, scroll_visible=False)

    async def notice(self, text: str, *, error: bool = False) -> None:
        """Show a line that belongs to no message."""
        await self.mount(Static(text, classes="notice error" if error else "notice", markup=False))

    async def clear_notices(self) -> None:
        """Take such lines away."""
        await self.query(".notice").remove()

    def follow(self) -> None:
        """Go to the end and stay there."""
        self.anchor()

    def _made(self, message: Message) -> MessageView:
        view = MessageView(message, self._places.get(message.id), open_thinking=self.open_thinking)
        view.turn = replace(view.turn, is_left_out=message.id in self._left_out)
        return view

    def _renew(self, view: MessageView, message: Message) -> None:
        place = self._places.get(message.id)
        turn = replace(view.turn, message=message, place=place, is_left_out=message.id in self._left_out)
        if view.turn != turn:
            view.show(turn)

    async def _fill(self) -> None:
        """Add earlier messages: up to the window, and beyond it where the reader is near the top."""
        if not self._hidden or self._lock.locked() or not self.is_attached:
            return
        near_top = self.scroll_y <= _NEAR_TOP and self.max_scroll_y > 0
        if len(self.views) >= _WINDOW and not near_top:
            return
        async with self._lock:
            more, self._hidden = self._hidden[-_MORE:], self._hidden[:-_MORE]
            views = self.views
            top, offset = (views[0], views[0].virtual_region.y - self.scroll_y) if views else (None, 0)
            await self.mount_all([self._made(message) for message in more], before=top if top else None)
            self._say_hidden()
            if top is not None and not self._follows:
                self.call_after_refresh(
                    lambda: self.scroll_to(y=top.virtual_region.y - offset, animate=False, force=True)
                )

    @property
    def _follows(self) -> bool:
        return self.is_anchored and not self._anchor_released

    def _say_hidden(self) -> None:
        self.border_title = f"↑ {len(self._hidden)} earlier" if self._hidden else None
