"""Which model to talk to: a list to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import OptionList


class ModelPicker(ModalScreen[str | None]):
    """Returns the chosen name, or None."""

    DEFAULT_CSS = """
    ModelPicker { align: center middle; }
    ModelPicker OptionList { width: 60%; height: auto; max-height: 80%; border: round $primary; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", "Close", id="models.close")]

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self._names = names

    def compose(self) -> ComposeResult:
        """The list, with the focus on it."""
        models = OptionList(*self._names, markup=False)
        models.border_title = "Model"
        yield models

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter or a click."""
        self.dismiss(self._names[event.option_index])
