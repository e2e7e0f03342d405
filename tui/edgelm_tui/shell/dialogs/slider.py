"""A number on a bar: arrows, mouse and wheel move it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Click, MouseScrollDown, MouseScrollUp
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget


class Slider(Widget, can_focus=True):
    """Shows `value` between `low` and `high`."""

    DEFAULT_CSS = """
    Slider { height: 1; width: 1fr; }
    Slider:focus { background: $boost; text-style: bold; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,minus", "move(-1)", "Less", id="slider.less"),
        Binding("right,plus", "move(1)", "More", id="slider.more"),
        Binding("home", "end(0)", "Least", id="slider.least", show=False),
        Binding("end", "end(1)", "Most", id="slider.most", show=False),
    ]
    value: reactive[float] = reactive(0.0)

    @dataclass
    class Changed(Message):
        """The user moved the slider."""

        slider: Slider
        value: float

    def __init__(self, value: float, *, low: float, high: float, step: float, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._low, self._high, self._step = low, high, step
        self.set_reactive(Slider.value, value)

    def render(self) -> Content:
        """Draw the bar and the number."""
        width = max(self.size.width - 6, 4)
        full = round((self.value - self._low) / (self._high - self._low) * width)
        return Content.assemble(
            ("━" * full, "$primary"), ("─" * (width - full), "$foreground-muted"), f" {self.value:.2f}"
        )

    def action_move(self, steps: int) -> None:
        """Move by steps."""
        self._set(self.value + steps * self._step)

    def action_end(self, at: int) -> None:
        """Go to either end."""
        self._set(self._high if at else self._low)

    def on_click(self, event: Click) -> None:
        """Go to where the mouse is."""
        width = max(self.size.width - 6, 4)
        self._set(self._low + min(max(event.x / width, 0), 1) * (self._high - self._low))

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        """Move a step up."""
        event.stop()
        self.action_move(1)

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        """Move a step down."""
        event.stop()
        self.action_move(-1)

    def _set(self, value: float) -> None:
        stepped = round(value / self._step) * self._step
        new = min(max(round(stepped, 6), self._low), self._high)
        if new != self.value:
            self.value = new
            self.post_message(self.Changed(self, new))
