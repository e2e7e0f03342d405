"""Small questions: a line of text, yes or no, one of a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, OptionList, TextArea
from textual.widgets.option_list import Option

_CSS = """
    align: center middle;
    & > Vertical {
        width: 80%; max-width: 90; height: auto; max-height: 90%;
        border: round $primary; background: $surface; padding: 0 1;
    }
    & Label { padding: 0 0 1 0; width: 100%; }
    & Horizontal { height: auto; align-horizontal: right; }
    & Button { margin: 0 0 0 1; }
    & OptionList, & OptionList:focus { height: auto; max-height: 100%; border: none; background: $surface; }
"""


class AskLine(ModalScreen[str | None]):
    """Returns what was typed, or None."""

    DEFAULT_CSS = f"AskLine {{ {_CSS} }}"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", "Close", id="dialog.close")]

    def __init__(self, question: str, value: str = "", placeholder: str = "") -> None:
        super().__init__()
        self._question, self._value, self._placeholder = question, value, placeholder

    def compose(self) -> ComposeResult:
        """The question above a line."""
        with Vertical():
            yield Label(self._question, markup=False)
            yield Input(self._value, placeholder=self._placeholder)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter."""
        self.dismiss(event.value)


class AskText(ModalScreen[str | None]):
    """Returns an edited text, or None. Ctrl+S or the button takes it."""

    DEFAULT_CSS = f"AskText {{ {_CSS} }} AskText TextArea {{ height: 16; }}"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Close", id="dialog.close"),
        Binding("ctrl+s", "take", "Take it", id="dialog.take"),
    ]

    def __init__(self, question: str, value: str) -> None:
        super().__init__()
        self._question, self._value = question, value

    def compose(self) -> ComposeResult:
        """The question, the text, the buttons."""
        with Vertical():
            yield Label(self._question, markup=False)
            yield TextArea(self._value, soft_wrap=True)
            with Horizontal():
                yield Button("Close", id="close")
                yield Button("Take it (Ctrl+S)", variant="primary", id="take")

    def on_mount(self) -> None:
        """Begin at the end of the text."""
        area = self.query_one(TextArea)
        area.move_cursor(area.document.end)
        area.focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Either button."""
        if event.button.id == "take":
            self.action_take()
        else:
            self.dismiss(None)

    def action_take(self) -> None:
        """Return the text."""
        self.dismiss(self.query_one(TextArea).text)


class Confirm(ModalScreen[bool]):
    """Yes or no; Enter and y are yes, Escape and n are no."""

    DEFAULT_CSS = f"Confirm {{ {_CSS} }}"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,n", "answer(False)", "No", id="dialog.no"),
        Binding("y", "answer(True)", "Yes", id="dialog.yes"),
    ]

    def __init__(self, question: str, yes: str = "Yes") -> None:
        super().__init__()
        self._question, self._yes = question, yes

    def compose(self) -> ComposeResult:
        """The question above two buttons."""
        with Vertical():
            yield Label(self._question, markup=False)
            with Horizontal():
                yield Button("No", id="no")
                yield Button(self._yes, variant="primary", id="yes")

    def on_mount(self) -> None:
        """Enter is yes."""
        self.query_one("#yes").focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Either button."""
        self.dismiss(event.button.id == "yes")

    def action_answer(self, yes: bool) -> None:
        """By key."""
        self.dismiss(yes)


class Choose(ModalScreen[str | None]):
    """Returns one of several, or None."""

    DEFAULT_CSS = f"Choose {{ {_CSS} }}"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", "Close", id="dialog.close")]

    def __init__(self, title: str, choices: Sequence[str], current: str | None = None) -> None:
        super().__init__()
        self._title, self._choices, self._current = title, choices, current

    def compose(self) -> ComposeResult:
        """The list, with the focus on it."""
        with Vertical():
            yield Label(self._title, markup=False)
            yield OptionList(*(Option(choice) for choice in self._choices), markup=False)

    def on_mount(self) -> None:
        """Begin at what is in use."""
        options = self.query_one(OptionList)
        options.highlighted = self._choices.index(self._current) if self._current in self._choices else 0
        options.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter or a click."""
        self.dismiss(self._choices[event.option_index])
