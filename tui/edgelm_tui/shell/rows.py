"""A list of numbered things with keys for what can be done to the one under the cursor."""

from __future__ import annotations

from dataclasses import dataclass

from textual.events import Key
from textual.message import Message
from textual.widgets import OptionList


class RowList(OptionList):
    """Its options have numbers as ids; subclasses bind keys to `act('…')`."""

    @dataclass
    class Act(Message):
        """The user wants `action` done to the row under the cursor, which is None where the list is empty."""

        action: str
        row: int | None

    @dataclass
    class Typed(Message):
        """The user writes, with the focus on the list."""

        text: str

    def on_key(self, event: Key) -> None:
        """What is typed and is no key of the list is for whoever can write."""
        if event.is_printable and event.character and event.key not in self.screen.active_bindings:
            self.post_message(self.Typed(event.character))

    def action_act(self, action: str) -> None:
        """By key."""
        self.post_message(self.Act(action, self.row))

    @property
    def row(self) -> int | None:
        """The number under the cursor."""
        if self.highlighted is None:
            return None
        name = self.get_option_at_index(self.highlighted).id
        return int(name) if name else None
