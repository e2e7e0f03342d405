"""One turn of a conversation: one widget, however long the text, that draws only the lines in sight.

Lines are laid out once for a width (finished Markdown blocks once and for all) and drawn when they are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol, cast

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Click, Key, Paste
from textual.geometry import Region, Size
from textual.message import Message as TextualMessage
from textual.selection import Selection
from textual.strip import Strip
from textual.style import Style
from textual.widget import Widget

from edgelm.store.chat_schema import Message
from edgelm_tui.markdown.growing import GrowingMarkdown
from edgelm_tui.screens.chat.transcript.turn import Turn, layout_turn

_KEYS: list[tuple[str, str, str, str]] = [
    ("y", "copy", "Copy", "copy"),
    ("e", "edit", "Edit", "edit"),
    ("r", "regenerate", "Again", "regenerate"),
    ("b", "branch", "Branch", "branch"),
    ("c", "continue", "Go on with a cut answer", "continue"),
    ("left_square_bracket,left", "sibling(-1)", "Alternative before", "previous"),
    ("right_square_bracket,right", "sibling(1)", "Alternative after", "next"),
    ("plus,equals_sign", "rate(1)", "Good", "good"),
    ("minus", "rate(-1)", "Bad", "bad"),
    ("w", "correct", "Better", "correct"),
    ("x", "delete", "Delete", "delete"),
    ("delete", "delete(1)", "Delete at once", "delete_now"),
    ("t", "toggle", "Open or close thinking and tool calls", "toggle"),
    ("up,k", "move(-1)", "Message above", "up"),
    ("down,j", "move(1)", "Message below", "down"),
]


class Actor(Protocol):
    """A screen with messages."""

    async def act_on(self, view: MessageView, action: str, argument: int) -> None:
        """Do `action` to the message of `view`."""

    def write_on(self, text: str, *, pasted: bool = False) -> None:
        """Go on writing in the prompt."""


class MessageView(Widget, can_focus=True):
    """A message of the saved chat, or the answer under way."""

    @dataclass
    class AskedFor(TextualMessage):
        """The user wants `action` done to the message of `view`."""

        view: MessageView
        action: str
        argument: int = 0

    DEFAULT_CSS = """
    MessageView { height: auto; padding: 0 1; margin: 0 0 1 0; border-left: blank; }
    MessageView.user { border-left: outer $primary 60%; }
    MessageView:focus { background: $boost; border-left: outer $accent; }
    MessageView:focus:ansi { background: ansi_default; border-left: outer $accent; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(
                key, f"act('{action.partition('(')[0]}'{_argument})", text, show=shown, id=f"message.{name}"
            )
            for key, action, text, name in _KEYS
            for _argument in [", " + action.partition("(")[2].rstrip(")") if "(" in action else ""]
            for shown in [
                name in ("copy", "edit", "regenerate", "branch", "good", "bad", "correct", "delete")
            ]
        ),
        *(
            Binding(str(n), f"act('code', {n})", f"Copy code block {n}", show=False, id=f"message.code_{n}")
            for n in range(1, 10)
        ),
    ]

    def __init__(
        self, message: Message, place: tuple[int, int] | None = None, *, open_thinking: bool = False
    ) -> None:
        super().__init__(classes=message.role)
        self.turn = Turn(message, place, is_open=open_thinking)
        self._markdown: GrowingMarkdown | None = None
        self._lines: list[Content] = []
        self._clicks: dict[int, tuple[str, int]] = {}
        self._laid_width = 0

    @property
    def message(self) -> Message:
        """What is shown."""
        return self.turn.message

    @property
    def plain(self) -> str:
        """All lines as they are laid out."""
        return "\n".join(line.plain for line in self._lines)

    def show(self, turn: Turn) -> None:
        """Show something else of the same message, or more of it; only lines that have changed are drawn again."""
        self.turn = turn
        width, before = self._laid_width, self._lines
        self._laid_width = 0
        if not width or width != self.scrollable_content_region.width:
            self.refresh(layout=True)
            return
        self._lay_out(width)
        if len(before) != len(self._lines):
            self.refresh(layout=True)
            return
        changed = [
            at for at, (old, new) in enumerate(zip(before, self._lines, strict=True)) if old is not new
        ]
        if changed:
            self.refresh(Region(0, changed[0], self.outer_size.width, changed[-1] - changed[0] + 1))

    def act(self, action: str, argument: int = 0) -> None:
        """Ask the screen to do something."""
        self.post_message(self.AskedFor(self, action, argument))

    async def action_act(self, action: str, argument: int = 0) -> None:
        """Do what a key says, and wait for it, so that the next key, however fast, finds what is shown then."""
        await cast("Actor", self.screen).act_on(self, action, argument)

    def on_key(self, event: Key) -> None:
        """Hand what is typed and is no key of a message to the prompt, which has the focus before the next key comes."""
        if event.is_printable and event.character and event.key not in self.screen.active_bindings:
            event.stop()
            event.prevent_default()
            cast("Actor", self.screen).write_on(event.character)

    def on_paste(self, event: Paste) -> None:
        """Hand a paste to the prompt."""
        event.stop()
        cast("Actor", self.screen).write_on(event.text, pasted=True)

    def on_click(self, event: Click) -> None:
        """Do what a line that is a button says."""
        if (found := self._clicks.get(event.y)) is not None:
            event.stop()
            self.act(*found)

    def get_content_width(self, container: Size, viewport: Size) -> int:
        """Take all the width there is."""
        return container.width

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Lay out, once for each width and text."""
        self._lay_out(width)
        return max(len(self._lines), 1)

    def render_line(self, y: int) -> Strip:
        """Draw one line, with its part of the selection."""
        width = self.scrollable_content_region.width or self.size.width
        base = self.visual_style
        if not 0 <= y < len(self._lines):
            return Strip.blank(width, base.rich_style)
        line = self._lines[y]
        selection = self.text_selection
        if selection is not None and (span := selection.get_span(y)) is not None:
            start, end = span
            chosen = Style.from_styles(self.screen.get_component_styles("screen--selection"))
            line = line.stylize(chosen, start, len(line.plain) if end == -1 else end)
        segments = [segment for segment in _segments(line, base, self) if segment.text]
        strip = Strip(segments, line.cell_length)
        return strip.adjust_cell_length(width, base.rich_style).apply_offsets(0, y)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """Return the selected lines."""
        return selection.extract(self.plain), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        """Draw the selection."""
        self.refresh()

    def notify_style_update(self) -> None:
        """Lay out anew for another theme: highlighting depends on whether it has colours of its own."""
        super().notify_style_update()
        ansi = self.app.native_ansi_color
        if self._markdown is not None and self._markdown.ansi != ansi:
            self._markdown, self._laid_width = None, 0

    def _lay_out(self, width: int) -> None:
        if width == self._laid_width:
            return
        self._laid_width = width
        if self._markdown is None:
            self._markdown = GrowingMarkdown(ansi=self.app.native_ansi_color)
        self._lines, self._clicks = layout_turn(self.turn, self._markdown, width)


def _segments(line: Content, base: Style, widget: Widget) -> list:  # type: ignore[type-arg]
    from rich.segment import Segment

    return [
        Segment(text, style.rich_style)
        for text, style in line.render(base, end="", parse_style=widget._get_style)
    ]
