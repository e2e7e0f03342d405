"""A widget that draws curves with braille dots."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from edgelm.charts.braille import Series, braille_chart


class Plot(Widget):
    """Draws series over the same axes."""

    DEFAULT_CSS = "Plot { height: 1fr; min-height: 5; padding: 0 1; }"
    is_log: reactive[bool] = reactive(False)

    def __init__(self, id: str | None = None) -> None:  # noqa: A002 - textual's own name
        super().__init__(id=id)
        self._series: list[Series] = []

    def show(self, series: Sequence[Series]) -> None:
        """Draw these instead."""
        self._series = list(series)
        self.refresh()

    def render(self) -> Content:
        """Draw legend, curves and steps."""
        size = self.scrollable_content_region.size if self.is_mounted else self.size
        return draw(self._series, size.width, size.height, is_log=self.is_log)


def draw(series: Sequence[Series], width: int, height: int, *, is_log: bool = False) -> Content:
    """Draw a picture of `width` by `height` characters."""
    lines = braille_chart(series, width, height, is_log=is_log, muted="$foreground-muted")
    return Content("\n").join(
        Content.assemble(*((text, colour) if colour else text for text, colour in line)) for line in lines
    )
