"""Colours at every level of terminal: readable in all, xterm's nearest in 256, none where none are wanted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from app_driver import Driver, running
from furniture import DONE, install, steps, write_run
from rich.segment import Segment
from textual.color import Color

from edgelm_tui.settings import THEMES, AppSettings, Settings, settings_file, write_settings
from edgelm_tui.shell.colours.colour_levels import READABLE, contrast, nearest

SCREENS: dict[str, tuple[str, ...]] = {
    "chat": (),
    "message": ("shift+tab",),
    "chats": ("ctrl+s",),
    "settings": ("ctrl+o",),
    "preferences": ("f10",),
    "help": ("f1",),
    "palette": ("ctrl+p",),
    "library": ("f3",),
    "hub": ("f3", "h"),
    "tune": ("f4",),
    "new run": ("f4", "n"),
    "models": ("ctrl+l",),
}
DRAWN = set("▁▂▃▄▅▆▇█▉▊▋▌▍▎▏▐░▒▓▔▕─━│┃╭╮╰╯├┤┬┴┼┌┐└┘╸╺╵╷═║ ")
"""Frames and bars, which are no text."""
XTERM_CUBE = (0, 95, 135, 175, 215, 255)


def xterm(number: int) -> Color:
    """The xterm colours as xterm's own 256colres.h computes them."""
    if number >= 232:
        grey = 8 + 10 * (number - 232)
        return Color(grey, grey, grey)
    red, rest = divmod(number - 16, 36)
    green, blue = divmod(rest, 6)
    return Color(XTERM_CUBE[red], XTERM_CUBE[green], XTERM_CUBE[blue])


def segments(it: Driver) -> Iterator[Segment]:
    """The text that is on the screen; of a dialog, the dialog's own."""
    screen = it.app.screen
    frame = screen.query(".frame, #--container").first().region if screen.is_modal else screen.region
    for strip in screen._compositor.render_strips()[frame.y : frame.bottom]:
        for segment in strip.crop(frame.x, frame.right):
            if segment.style is not None and set(segment.text) - DRAWN and min(segment.text) < "⠀":
                yield segment


def of(colour: object) -> Color | None:
    """What a colour looks like, where the terminal's user has no say."""
    if colour is None or colour.is_default:  # type: ignore[attr-defined]
        return None
    if colour.triplet is not None:  # type: ignore[attr-defined]
        return Color(*colour.triplet)  # type: ignore[attr-defined]
    return xterm(colour.number) if colour.number >= 16 else None  # type: ignore[attr-defined]


ANSWER = """\
hello **there** `code`

| a | b |
|---|---|
| 1 | [c](https://d.e) |

> quoted

```python
def f(): return 'x'  # y
```"""


async def visit(it: Driver) -> None:
    """Something on every screen."""
    await it.ask(ANSWER)


async def go_back(it: Driver) -> None:
    """To the prompt of the chat, from wherever a screen was left."""
    while it.app.screen.is_modal:
        await it.press("escape")
    await it.press("f2")
    it.prompt.focus()
    await it.pilot.pause()


def dress(theme: str, home: Path) -> None:
    write_settings(Settings(AppSettings(theme=theme)), settings_file())
    install(home)
    write_run(home, "one", [*steps(50), DONE])


@pytest.mark.parametrize("colours", ["truecolor", "256"])
@pytest.mark.parametrize("theme", [theme for theme in THEMES if theme != "ansi"])
async def test_text_is_readable(theme: str, colours: str, home: Path) -> None:
    """All of it: WCAG's level AA for text, 4.5 to 1."""
    dress(theme, home)
    faint: dict[str, str] = {}
    async with running(size=(120, 40), colours=colours) as it:
        it.app.animation_level = "none"
        await visit(it)
        it.app.notify("a toast")
        it.app.services.notices.report("a problem", "a hint")
        for name, keys in SCREENS.items():
            await it.press(*keys)
            for segment in segments(it):
                front, back = of(segment.style.color), of(segment.style.bgcolor)  # type: ignore[union-attr]
                assert front is not None, (name, segment)
                assert back is not None, (name, segment)
                if colours == "256":
                    assert segment.style.color.number is not None  # type: ignore[union-attr]
                if (ratio := contrast(front, back)) < READABLE:
                    faint[f"{name}: {segment.text.strip()[:30]}"] = f"{ratio:.2f} {front.hex} on {back.hex}"
            await go_back(it)
    assert not faint, "\n".join(f"{where}: {how}" for where, how in faint.items())


@pytest.mark.parametrize("theme", THEMES)
async def test_no_color_means_none(theme: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither colours nor greys: attributes only, and what is chosen is still seen."""
    monkeypatch.setenv("NO_COLOR", "1")
    dress(theme, home)
    async with running(size=(110, 34), colours="truecolor") as it:
        it.app.animation_level = "none"
        await visit(it)
        it.app.notify("a toast")
        for keys in SCREENS.values():
            await it.press(*keys)
            for strip in it.app.screen._compositor.render_strips():
                for segment in strip:
                    style = segment.style
                    assert style is None or style.color is None or style.color.is_default, segment
                    assert style is None or style.bgcolor is None or style.bgcolor.is_default, segment
            if keys and keys[-1] in ("f3", "f4", "ctrl+s", "ctrl+l"):
                await it.until(
                    lambda: any(segment.style.reverse for segment in segments(it)),  # type: ignore[union-attr]
                    "the chosen row stands out",
                )
            await go_back(it)


async def test_an_empty_no_color_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """https://no-color.org: present and not an empty string."""
    monkeypatch.setenv("NO_COLOR", "")
    async with running() as it:
        assert any(segment.style.color.triplet for segment in segments(it))  # type: ignore[union-attr]


async def test_sixteen_colours_are_the_terminals_own(home: Path) -> None:
    dress("edgelm-dark", home)
    async with running(colours="standard") as it:
        assert it.app.theme == "ansi"
        for segment in segments(it):
            for colour in (segment.style.color, segment.style.bgcolor):  # type: ignore[union-attr]
                assert colour is None or colour.triplet is None, segment
        assert it.app.services.settings.app.theme == "edgelm-dark"  # it is still the user's choice


@pytest.mark.parametrize(
    ("colour", "number"),
    [
        ((0x20, 0x27, 0x35), 235),
        ((0x11, 0x15, 0x1C), 233),
        ((255, 255, 255), 231),
        ((0, 0, 0), 16),
        ((0, 95, 135), 24),
    ],
)
def test_the_nearest_colour_looks_alike(colour: tuple[int, int, int], number: int) -> None:
    """The panel is a dark grey (235, #262626), where rich makes it navy (17, #00005f)."""
    assert nearest(colour) == number


def test_text_stays_readable_on_its_ground() -> None:
    for grey in range(16, 256, 16):
        number = nearest((grey, grey, grey), (128, 128, 128), 4.5)
        best = max(contrast(xterm(n), Color(128, 128, 128)) for n in range(16, 256))
        assert contrast(xterm(number), Color(128, 128, 128)) >= min(4.5, best)
