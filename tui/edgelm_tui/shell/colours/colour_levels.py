"""What a terminal can show of the app's colours: all of them, 256, or none.

Textual paints in 24 bits. Where there are 256 colours, rich rounds each channel by itself, which makes a dark blue grey navy
blue; where there are to be none (`NO_COLOR`), Textual sends greys. So what is painted is mapped here, last of all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from rich.color import Color as RichColor
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter

READABLE = 4.5
"""The contrast of text and ground by WCAG 2.2's level AA, https://www.w3.org/TR/WCAG22/#contrast-minimum."""
_STANDS_OUT = 1.6
"""The contrast of two grounds from which one is shown in reverse video."""
_CUBE = (0, 95, 135, 175, 215, 255)
Triplet = tuple[int, int, int]
_XTERM: tuple[Triplet, ...] = (
    *((red, green, blue) for red in _CUBE for green in _CUBE for blue in _CUBE),
    *((grey, grey, grey) for grey in range(8, 248, 10)),
)
"""The colours 16 to 255 of xterm; the first sixteen are the user's own."""


class NoColours(LineFilter):
    """Leaves attributes only: what stands out by its ground is shown in reverse video.

    Args:
        ground: the colour of the app's own ground.
    """

    def __init__(self, ground: Callable[[], Color]) -> None:
        super().__init__()
        self._ground = ground

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Return the same text without any colour."""
        ground = self._ground()
        return [
            Segment(text, None if style is None else _bare(style, ground), control)
            for text, style, control in segments
        ]


class Colours256(LineFilter):
    """The nearest of xterm's colours; text that was readable stays so."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Return the same text in numbered colours."""
        return [
            Segment(text, None if style is None else _numbered(style), control)
            for text, style, control in segments
        ]


def contrast(one: Color, other: Color) -> float:
    """Return the contrast ratio of two colours, 1 to 21, by WCAG 2.2: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio."""
    low, high = sorted((_luminance(one.rgb), _luminance(other.rgb)))
    return (high + 0.05) / (low + 0.05)


@lru_cache(4096)
def nearest(colour: Triplet, ground: Triplet | None = None, least: float = 1.0) -> int:
    """Find the number of the xterm colour that looks most like `colour`, of those with the contrast `least` to `ground`.

    The distance is that of CIE 1976, in L*a*b*.
    """
    lab = _lab(colour)
    on = None if ground is None else _luminance(ground)

    def is_readable(number: int) -> bool:
        if on is None:
            return True
        low, high = sorted((on, _luminance(_XTERM[number])))
        return (high + 0.05) / (low + 0.05) >= least

    wanted = [number for number in range(len(_XTERM)) if is_readable(number)] or list(range(len(_XTERM)))
    best = min(
        wanted, key=lambda number: sum((a - b) ** 2 for a, b in zip(lab, _lab(_XTERM[number]), strict=True))
    )
    return 16 + best


@lru_cache(4096)
def _bare(style: Style, ground: Color) -> Style:
    stands_out = style.bgcolor is not None and _is_far(style.bgcolor, ground)
    plain = style.without_color
    return plain + Style(reverse=True) if stands_out else plain


def _is_far(colour: RichColor, ground: Color) -> bool:
    if colour.is_default:
        return False
    if colour.triplet is None:  # one of the terminal's own sixteen: 0 is its black
        return colour.number not in (None, 0)
    return contrast(Color(*colour.triplet), ground) >= _STANDS_OUT


@lru_cache(4096)
def _numbered(style: Style) -> Style:
    front, back = style.color, style.bgcolor
    ground: Triplet | None = None
    new_back = back
    if back is not None and back.triplet is not None:
        number = nearest(tuple(back.triplet))
        ground, new_back = _XTERM[number - 16], RichColor.from_ansi(number)
    if front is None or front.triplet is None:
        return style + Style.from_color(front, new_back)
    least = 1.0
    if ground is not None and back is not None and back.triplet is not None:
        least = min(contrast(Color(*front.triplet), Color(*back.triplet)), READABLE)
    return style + Style.from_color(
        RichColor.from_ansi(nearest(tuple(front.triplet), ground, least)), new_back
    )


@lru_cache(4096)
def _luminance(colour: Triplet) -> float:
    """Relative luminance, https://www.w3.org/TR/WCAG22/#dfn-relative-luminance."""
    red, green, blue = (_linear(channel) for channel in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(channel: int) -> float:
    share = channel / 255
    return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4


@lru_cache(4096)
def _lab(colour: Triplet) -> tuple[float, float, float]:
    red, green, blue = (_linear(channel) for channel in colour)
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089

    def bent(value: float) -> float:
        return value ** (1 / 3) if value > 216 / 24389 else (24389 / 27 * value + 16) / 116

    return 116 * bent(y) - 16, 500 * (bent(x) - bent(y)), 200 * (bent(y) - bent(z))
