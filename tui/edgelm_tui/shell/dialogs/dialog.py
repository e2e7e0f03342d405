"""The frame of every dialog, and the rows of those that are forms: they fit wherever the app does."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.screen import ModalScreen, ScreenResultType
from textual.widget import Widget
from textual.widgets import Button, Checkbox, Label

_ROOMY = 70
"""Columns from which the parts of a row stand beside each other."""


class Dialog(ModalScreen[ScreenResultType]):
    """A modal screen whose one child has the class `frame`; buttons stand in a `ButtonRow`."""

    HORIZONTAL_BREAKPOINTS = [(0, "-small"), (_ROOMY, "-roomy")]  # noqa: RUF012 - Textual declares it without ClassVar
    DEFAULT_CSS = """
    Dialog { align: center middle; }
    Dialog > .frame {
        width: 90%; max-width: 90; height: auto; max-height: 100%; border: round $primary; background: $surface; padding: 0 1;
    }
    Dialog.-small > .frame { width: 100%; }
    Dialog .question { padding: 0 0 1 0; width: 100%; height: auto; max-height: 4; }
    Dialog .list, Dialog .list:focus { border: none; background: $surface; }
    Dialog .problem { color: $text-error; height: auto; max-height: 3; }
    Dialog.-small FormRow { layout: vertical; margin: 0 0 1 0; }
    Dialog.-small FormRow > .form--field.second { margin: 0; }
    Dialog.-small FormRow > .form--label, Dialog.-small FormRow > .form--field, Dialog.-small FormRow > .form--note {
        width: 100%; padding: 0;
    }
    """


class ButtonRow(Horizontal):
    """Buttons at the right end of a dialog.

    Args:
        choices: id → what stands on the button; the last is the usual one.
    """

    DEFAULT_CSS = """
    ButtonRow { height: auto; align-horizontal: right; padding: 1 0 0 0; }
    ButtonRow > Button { margin: 0 0 0 1; width: auto; min-width: 1; }
    ButtonRow > Button:focus { text-style: bold reverse; }
    """

    def __init__(self, choices: dict[str, str]) -> None:
        super().__init__()
        self._choices = choices

    def compose(self) -> ComposeResult:
        """Make the buttons."""
        *_, usual = self._choices
        for name, label in self._choices.items():
            yield Button(label, variant="primary" if name == usual else "default", id=name, compact=True)


class FormRow(Horizontal):
    """One setting: what it is called, where it is set, and what it means."""

    DEFAULT_CSS = """
    FormRow { height: auto; }
    FormRow > .form--label { width: 20; padding: 0 1 0 0; }
    FormRow > .form--field { width: 1fr; min-width: 20; }
    FormRow > .form--note { width: 2fr; padding: 0 0 0 2; color: $text-muted; height: auto; }
    FormRow > Input.form--field, FormRow > Select.form--field > SelectCurrent { background: $panel; }
    FormRow > Select.form--field > SelectCurrent > #label { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    FormRow > .form--field.second { margin: 0 0 0 1; }
    """

    def __init__(self, label: str, *fields: Widget, note: str = "") -> None:
        super().__init__()
        self._label, self._fields, self._note = label, fields, note

    def compose(self) -> ComposeResult:
        """Name, field, note."""
        yield Label(self._label, classes="form--label", markup=False)
        for at, field in enumerate(self._fields):
            field.add_class("form--field", *(["second"] if at else []))
            yield field
        if self._note:
            yield Label(self._note, classes="form--note", markup=False)


class Tick(Checkbox):
    """A box that is on or off, in words too, so that it reads without colours."""

    DEFAULT_CSS = """
    Tick { border: none; padding: 0; background: transparent; height: 1; }
    Tick:focus { border: none; background: $block-cursor-background; color: $block-cursor-foreground; }
    """

    def __init__(self, value: bool, id: str) -> None:  # noqa: A002 - textual's own name
        super().__init__("", value, id=id)

    def render(self) -> Content:
        """Draw the state by sign and word, never by colour alone."""
        return Content("[✓] on " if self.value else "[ ] off")
