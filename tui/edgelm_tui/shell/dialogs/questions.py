"""Small questions: a line of text, yes or no, one of a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Button, Input, Label, OptionList, TextArea
from textual.widgets.option_list import Option

from edgelm_tui.shell.dialogs.dialog import ButtonRow, Dialog


class AskLine(Dialog[str | None]):
    """Returns what was typed, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", "Close", id="dialog.close")]

    def __init__(self, question: str, value: str = "", placeholder: str = "") -> None:
        super().__init__()
        self._question, self._value, self._placeholder = question, value, placeholder

    def compose(self) -> ComposeResult:
        """Make the question above a line."""
        with Vertical(classes="frame"):
            yield Label(self._question, classes="question", markup=False)
            yield Input(self._value, placeholder=self._placeholder)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take the line when Enter is pressed."""
        self.dismiss(event.value)


class AskText(Dialog[str | None]):
    """Returns an edited text, or None. Ctrl+S or the button takes it."""

    DEFAULT_CSS = """
    AskText > .frame { height: 100%; max-height: 22; }
    AskText TextArea { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Close", id="dialog.close"),
        Binding("ctrl+s", "take", "Save", id="dialog.take"),
    ]

    def __init__(self, question: str, value: str) -> None:
        super().__init__()
        self._question, self._value = question, value

    def compose(self) -> ComposeResult:
        """Make the question, the text and the buttons."""
        with Vertical(classes="frame"):
            yield Label(self._question, classes="question", markup=False)
            yield TextArea(self._value, soft_wrap=True)
            yield ButtonRow({"close": "Close", "take": "Save (Ctrl+S)"})

    def on_mount(self) -> None:
        """Begin at the end of the text."""
        area = self.query_one(TextArea)
        area.move_cursor(area.document.end)
        area.focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Take the text or leave it, as the button says."""
        if event.button.id == "take":
            self.action_take()
        else:
            self.dismiss(None)

    def action_take(self) -> None:
        """Return the text."""
        self.dismiss(self.query_one(TextArea).text)


class Confirm(Dialog[bool]):
    """Yes or no; y is yes, Escape and n are no. Enter is no until the user moves to the other button."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,n", "answer(False)", "No", id="dialog.no"),
        Binding("y", "answer(True)", "Yes", id="dialog.yes"),
    ]

    def __init__(self, question: str, yes: str = "Yes") -> None:
        super().__init__()
        self._question, self._yes = question, yes

    def compose(self) -> ComposeResult:
        """Make the question above two buttons."""
        with Vertical(classes="frame"):
            yield Label(self._question, classes="question", markup=False)
            yield ButtonRow({"no": "No (n)", "yes": f"{self._yes} (y)"})

    def on_mount(self) -> None:
        """Begin at no: what cannot be taken back needs more than one key too many."""
        self.query_one("#no").focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Answer with the button that was pressed."""
        self.dismiss(event.button.id == "yes")

    def action_answer(self, yes: bool) -> None:
        """Answer with a key."""
        self.dismiss(yes)


class Choose(Dialog[str | None]):
    """Returns one of several, or None."""

    DEFAULT_CSS = "Choose .list { height: auto; max-height: 100%; }"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", "Close", id="dialog.close")]

    def __init__(self, title: str, choices: Sequence[str], current: str | None = None) -> None:
        super().__init__()
        self._title, self._choices, self._current = title, choices, current

    def compose(self) -> ComposeResult:
        """Make the list, with the focus on it."""
        with Vertical(classes="frame"):
            yield Label(self._title, classes="question", markup=False)
            yield OptionList(*(Option(choice) for choice in self._choices), classes="list", markup=False)

    def on_mount(self) -> None:
        """Begin at what is in use."""
        options = self.query_one(OptionList)
        options.highlighted = self._choices.index(self._current) if self._current in self._choices else 0
        options.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter or a click."""
        self.dismiss(self._choices[event.option_index])
