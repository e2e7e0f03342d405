"""A list of numbered things with keys for what can be done to the one under the cursor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from textual.events import Key
from textual.message import Message
from textual.widgets import OptionList


@runtime_checkable
class Writer(Protocol):
    """A screen with a line to write in."""

    def write_on(self, text: str, *, pasted: bool = False) -> None:
        """Put `text` there, and the focus."""


class RowList(OptionList):
    """Its options have numbers as ids; subclasses bind keys to `act('…')`."""

    @dataclass
    class Act(Message):
        """The user wants `action` done to the row under the cursor, which is None where the list is empty."""

        action: str
        row: int | None

    def on_key(self, event: Key) -> None:
        """Give what is typed and is no key of the list to whoever can write; the focus is there before the next key is."""
        if not event.is_printable or not event.character or event.key in self.screen.active_bindings:
            return
        if isinstance(self.screen, Writer):
            event.stop()
            event.prevent_default()
            self.screen.write_on(event.character)

    def action_act(self, action: str) -> None:
        """Ask for an action on the row, by key."""
        self.post_message(self.Act(action, self.row))

    @property
    def row(self) -> int | None:
        """The number under the cursor."""
        if self.highlighted is None:
            return None
        name = self.get_option_at_index(self.highlighted).id
        return int(name) if name else None
