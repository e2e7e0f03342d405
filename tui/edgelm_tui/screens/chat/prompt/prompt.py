"""Where the user writes: Enter sends; Shift+Enter and Ctrl+J start a new line.

Grows with its text. Up on the first row and Down on the last walk through what was asked before. A long paste becomes an
attachment. Knows nothing of models.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.events import Key, Paste
from textual.message import Message
from textual.widgets import TextArea
from textual.widgets.text_area import EditResult

from edgelm.conversation.typed_paths import dropped_files, quoted
from edgelm.store.newlines import unix_newlines
from edgelm_tui.screens.chat.prompt.completion import names_a_file
from edgelm_tui.shell.text.plain import plain

_LONG_PASTE = 2000
"""Characters from which a paste becomes an attachment, however few lines it has."""
_OWN = ("prompt.send", "prompt.newline", "prompt.complete")
_WORD = re.compile(r"""(^|(?<=\s))(@"[^"]*|@(?:\\.|[^\s\\"])*|/\S*)$""")


class ChatPrompt(TextArea):
    """A text area that posts its text on Enter."""

    DEFAULT_CSS = """
    ChatPrompt { height: auto; min-height: 3; max-height: 10; border: round $border-blurred; background: $background;
        border-subtitle-color: $text-muted;
    }
    ChatPrompt:focus { border: round $primary; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "send", "Send", show=False, id="prompt.send"),
        Binding("ctrl+j,shift+enter", "newline", "New line", show=False, id="prompt.newline"),
        Binding("up", "earlier", "Earlier prompt", show=False, id="prompt.earlier"),
        Binding("down", "later", "Later prompt", show=False, id="prompt.later"),
        Binding("tab", "complete", "Complete", show=False, id="prompt.complete"),
        Binding("shift+tab", "app.focus_previous", "Messages", id="prompt.messages"),
    ]

    @dataclass
    class Submitted(Message):
        """The user pressed Enter on `text`, which may be empty."""

        text: str

    @dataclass
    class Pasted(Message):
        """A paste too long to stand in the prompt."""

        text: str

    @dataclass
    class Completing(Message):
        """The word at the cursor may be completed; "" closes the list."""

        word: str

    @dataclass
    class Steer(Message):
        """A key for the open list of completions: "up", "down", "take" or "close"."""

        key: str

    def __init__(self) -> None:
        super().__init__(
            id="prompt", placeholder="Ask something · Ctrl+J new line · / commands · @ files · F1 help"
        )
        self.paste_lines = 12
        self.asked: list[str] = []
        self.is_completing = False
        self._at = -1
        self._draft = ""
        self._summary = ""

    def action_send(self) -> None:
        """Post the text; behind a backslash, break the line instead, as shells do."""
        row, column = self.cursor_location
        before = self.document.get_line(row)[:column]
        if (len(before) - len(before.rstrip("\\"))) % 2:
            self.replace("\n", (row, column - 1), (row, column))
        elif self.is_completing and self.word().startswith("/") and " " not in self.word():
            self.post_message(self.Steer("send"))
        else:
            self.post_message(self.Submitted(self.text))

    def action_newline(self) -> None:
        """Break the line."""
        self.insert("\n")

    def action_earlier(self) -> None:
        """Go up in the list, in the text, or in the history."""
        if self.is_completing:
            self.post_message(self.Steer("up"))
        elif self.cursor_location[0] > 0 or not self.asked:
            self.action_cursor_up()
        elif self._at + 1 < len(self.asked):
            self._draft = self.text if self._at < 0 else self._draft
            self._recall(self._at + 1)

    def action_later(self) -> None:
        """Go down in the list, in the text, or in the history."""
        if self.is_completing:
            self.post_message(self.Steer("down"))
        elif self.cursor_location[0] < self.document.line_count - 1 or self._at < 0:
            self.action_cursor_down()
        else:
            self._recall(self._at - 1)

    def action_complete(self) -> None:
        """Take the completion, or go to the next widget."""
        if self.is_completing:
            self.post_message(self.Steer("take"))
        else:
            self.screen.focus_next()

    def action_delete_to_start_of_line(self) -> None:
        """Delete before the cursor; with nothing to delete, the conversation scrolls: Terminal.app keeps PageUp for itself."""
        if self.text:
            super().action_delete_to_start_of_line()
        else:
            self.call_next(self.run_action, "screen.scroll(-1)")

    def action_delete_right(self) -> None:
        """Delete behind the cursor; with nothing to delete, the conversation scrolls."""
        if self.text:
            super().action_delete_right()
        else:
            self.call_next(self.run_action, "screen.scroll(1)")

    def word(self) -> str:
        """Return what stands before the cursor, if it begins with @, or with / at the very start; else "".

        Of a command that names a file, the whole line.
        """
        row, column = self.cursor_location
        before = self.document.get_line(row)[:column]
        if row == 0 and names_a_file(before):
            return before
        found = _WORD.search(before)
        if found is None or (found[2].startswith("/") and (row, found.start(2)) != (0, 0)):
            return ""
        return found[2]

    def replace_word(self, text: str) -> None:
        """Put `text` in the place of `word()`."""
        row, column = self.cursor_location
        self.replace(text, (row, column - len(self.word())), (row, column))

    def show_settings(self, summary: str) -> None:
        """Say in the frame how the chat is set: a system prompt or a temperature must not be forgotten."""
        if summary != self._summary:
            self._summary = summary
            self.border_subtitle = plain(summary)

    def say(self, text: str) -> None:
        """Replace everything, with the cursor at the end."""
        self.load_text(unix_newlines(text))
        self.move_cursor(self.document.end)

    def clear(self) -> EditResult:
        """Take away what is typed; the arrow keys bring it back."""
        self.remember(self.text)
        self.forget_place()
        return super().clear()

    def remember(self, text: str) -> None:
        """Let the arrow keys bring a text back first."""
        if text.strip():
            self.asked = [text, *(old for old in self.asked if old != text)]

    def forget_place(self) -> None:
        """Begin at the newest of the history again."""
        self._at = -1

    def on_text_area_changed(self) -> None:
        """Say that there may be a word to complete."""
        self.post_message(self.Completing(self.word()))

    async def _on_key(self, event: Key) -> None:
        # The text area would take these keys for text. They are no priority bindings, because those overtake what was
        # typed before them: Enter would send a prompt without its last letters.
        if event.is_printable:
            return
        active = self.screen.active_bindings.get(event.key)
        if active is not None and active.node is self and active.binding.id in _OWN:
            event.stop()
            event.prevent_default()
            await self.run_action(active.binding.action)

    async def _on_paste(self, event: Paste) -> None:
        # The text area's own handler runs after this one, unless it is prevented.
        event.stop()
        event.prevent_default()
        self.take_paste(unix_newlines(event.text))

    def action_paste(self) -> None:
        """Paste what was cut or copied in the app."""
        if self.app.clipboard:
            self.take_paste(unix_newlines(self.app.clipboard))

    def type_text(self, text: str) -> None:
        """Put `text` in as if it was typed here."""
        if (result := self._replace_via_keyboard(text, *self.selection)) is not None:
            self.move_cursor(result.end_location)

    def take_paste(self, text: str) -> None:
        """Take a paste: as an attachment if it is long, as mentions if it is files that were dropped, else as text."""
        if len(text) >= _LONG_PASTE or len(text.splitlines()) > self.paste_lines:
            self.post_message(self.Pasted(text))
            return
        if not self.text.startswith("/") and not self.word() and (files := dropped_files(text)):
            row, column = (
                self.selection.start if self.selection.start <= self.selection.end else self.selection.end
            )
            before = self.document.get_line(row)[:column]
            apart = " " if before and not before[-1].isspace() else ""
            text = apart + "".join(f"@{quoted(str(file))} " for file in files)
        self.type_text(text)
        self.focus()

    def _recall(self, at: int) -> None:
        self._at = at
        self.say(self._draft if at < 0 else self.asked[at])
