"""The terminal app: modes over one engine, one database and one queue of jobs.

The parts are joined in `base_app`, what they say is heard in `hearing`; here are the keys that work everywhere.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from textual.binding import Binding, BindingType
from textual.screen import Screen

from edgelm_tui.hearing import HearingApp
from edgelm_tui.screens.chat.prompt.prompt import ChatPrompt
from edgelm_tui.screens.chat.screen import ChatScreen
from edgelm_tui.screens.chat.welcome import Welcome
from edgelm_tui.shell.keys.sentences import SENTENCES, sentence
from edgelm_tui.shell.mode_screen import ModeScreen
from edgelm_tui.shell.tabs import MODES, ModeTab

if TYPE_CHECKING:
    from textual.command import Provider

_TWICE_S = 2.0
_LEAVE_S = 0.2
"""How long quitting waits for the engine, so that what it has computed is kept."""


def _library_screen() -> Screen[Any]:
    from edgelm_tui.screens.library.screen import LibraryScreen

    return LibraryScreen()


def _commands() -> type[Provider]:
    from edgelm_tui.shell.palette import Commands

    return Commands


def _tune_screen() -> Screen[Any]:
    from edgelm_tui.screens.tune.screen import TuneScreen

    return TuneScreen()


class EdgeLMApp(HearingApp):
    """edgelm in the terminal."""

    TITLE = "edgelm"
    MODES: ClassVar[dict[str, Any]] = {
        "chat": ChatScreen,
        "library": _library_screen,
        "tune": _tune_screen,
    }
    COMMANDS: ClassVar[set[Any]] = {_commands}
    CSS = """
    Input > .input--placeholder, Input > .input--suggestion { color: $text-muted; }
    TextArea .text-area--placeholder, Select .arrow, SelectCurrent .arrow, Tab { color: $text-muted; }
    Tab.-active { color: $foreground; }
    ToastRack { dock: top; align: right top; margin: 1 1 0 0; }
    Toast { width: auto; max-width: 60; max-height: 10; padding: 0 1; margin: 0 0 1 0; }
    CommandPalette > Vertical { width: 100%; max-width: 80; margin-top: 2; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1,question_mark", "help", "Help", id="app.help"),
        Binding("f2", "mode('chat')", "Chat", id="app.chat", show=False),
        Binding("f3", "mode('library')", "Library", id="app.library", show=False),
        Binding("f4", "mode('tune')", "Tune", id="app.tune", show=False),
        Binding("ctrl+t", "next_mode", "Next", id="app.next", show=False, priority=True),
        Binding("f10,comma", "preferences", "Preferences", id="app.preferences", show=False),
        Binding("ctrl+p", "command_palette", "All actions", id="app.palette", priority=True),
        Binding("ctrl+c", "interrupt", "Copy, stop, or quit", id="app.interrupt", show=False, priority=True),
        Binding("ctrl+q", "leave", "Quit", id="app.quit", show=False, priority=True),
    ]

    _interrupted_at = 0.0

    def palette_actions(self, screen: Screen[Any]) -> list[tuple[str, str]]:
        """What the palette offers beside the keys that work now."""
        actions: list[tuple[str, str]] = []
        if isinstance(screen, ChatScreen):
            actions += [
                (
                    f"{sentence(binding.id, binding.description)} (a message)",
                    f"screen.message({binding.action.partition('(')[2]}",
                )
                for binding in _message_bindings()
            ]
            actions += [
                (SENTENCES[f"sessions.{name}"], f"screen.session('{name}')")
                for name in ("rename", "duplicate", "delete", "export", "folder")
            ]
            actions += [
                (SENTENCES["sessions.import"], "screen.session('import')"),
                (SENTENCES["sessions.undo"], "screen.session('undo')"),
            ]
        return actions

    def action_mode(self, mode: str) -> None:
        """Go to a mode."""
        self.switch_mode(mode)

    def action_next_mode(self) -> None:
        """Go to the next mode, as the tabs stand."""
        if len(self.screen_stack) > 1:  # a dialog is open
            return
        modes = list(MODES)
        self.switch_mode(modes[(modes.index(self.current_mode) + 1) % len(modes)])

    def action_preferences(self) -> None:
        """The settings of the app."""
        from edgelm_tui.screens.preferences import PreferencesScreen

        self.push_screen(PreferencesScreen(self.settings))

    def action_help(self) -> None:
        """The keys of this screen."""
        from edgelm_tui.shell.dialogs.help import HelpScreen, keys_of

        screen = self.screen
        text = screen.HELP_TEXT if isinstance(screen, ModeScreen) else ""
        others: Iterable[Binding] = _message_bindings() if isinstance(screen, ChatScreen) else ()
        self.push_screen(HelpScreen(text, keys_of(screen.active_bindings.values(), others)))

    def action_interrupt(self) -> None:
        """Ctrl+C: copy what is selected, else clear the prompt, else stop, and twice quits."""
        selected = getattr(self.focused, "selected_text", "") or self.screen.get_selected_text()
        now = time.monotonic()
        if selected:
            self.copy(selected)
            self.notify("copied")
        elif isinstance(self.focused, ChatPrompt) and self.focused.text:
            self.focused.clear()
        elif self.desk.busy:
            self.stop_answer()
        elif self.state.loading:
            self.stop_loading()
        elif now - self._interrupted_at < _TWICE_S:
            self.action_leave()
        else:
            self._interrupted_at = now
            self.notify("Ctrl+C again quits")

    def action_leave(self) -> None:
        """Quit; the answer under way is kept as far as it came."""
        chat = self.chat_screen()
        with self.reporting(quietly=True):
            if self.desk.busy:
                self.desk.stop()
            if chat is not None:
                chat.open_chat.save_draft()
        self.exit()

    def on_mode_tab_chosen(self, event: ModeTab.Chosen) -> None:
        """A click on a tab."""
        self.action_mode(event.mode)

    def on_welcome_offer_taken(self, event: Welcome.OfferTaken) -> None:
        """A button of the empty library."""
        if event.what == "demo":
            self.jobs.add("convert", "Converting smollm2", {"source": "smollm2"})
        else:
            self.action_mode("library")
            self.call_later(self._search_hub)

    async def _search_hub(self) -> None:
        await self.run_action("screen.hub")


def _message_bindings() -> list[Binding]:
    from edgelm_tui.screens.chat.transcript.view import MessageView

    return [item for item in MessageView.BINDINGS if isinstance(item, Binding)]


def run_app() -> None:
    """Run until the user quits, and then leave at once, whatever a thread is still waiting for."""
    app = EdgeLMApp()
    # What asyncio.run does, but for its end, which waits for threads, such as one that asks the Hub.
    runner = asyncio.Runner()
    try:
        runner.run(app.run_async())
    finally:
        runner.get_loop().close()
        app.close(_LEAVE_S)
    if app.tuning is not None and app.tuning.returncode is None:
        print("training goes on; edgelm shows it under F4 Tune, and can stop it there", file=sys.stderr)
    # Threads may be in calls that cannot be broken off, and taking MLX and its neighbours apart takes a second. All that is
    # worth keeping is on the disk: the database is closed, files are written to a sibling and renamed.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(app.return_code or 0)
