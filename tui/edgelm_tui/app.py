"""The terminal app: screens over one set of services, and the keys that work everywhere.

What screens do is theirs; what they stand on is in `services`; what comes of the engine's events is in `engine_feed`.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

# Without it, a terminal that does not speak Kitty's protocol delays Esc by a tenth of a second.
os.environ.setdefault("ESCDELAY", "25")

from textual import work
from textual.app import App
from textual.binding import Binding, BindingType
from textual.events import Event, Paste
from textual.filter import LineFilter
from textual.notifications import SeverityLevel
from textual.screen import Screen

from edgelm.machine.memory import Memory, measure_memory
from edgelm.store.newlines import unix_newlines
from edgelm_tui.clipboard import copy_text
from edgelm_tui.engine.client import EngineClient
from edgelm_tui.engine_feed import EngineFeed
from edgelm_tui.jobs.manager import JobManager
from edgelm_tui.screens import SCREENS
from edgelm_tui.services.screen_entry import ScreenEntry
from edgelm_tui.services.servers import look_for_servers
from edgelm_tui.services.services import Services
from edgelm_tui.settings import Settings
from edgelm_tui.shell.colours.terminal_colours import TerminalColours
from edgelm_tui.shell.colours.themes import THEMES
from edgelm_tui.shell.keys.sentences import LONGEST
from edgelm_tui.shell.mode_screen import ModeScreen
from edgelm_tui.shell.tabs import ModeTab

if TYPE_CHECKING:
    from textual.command import Provider

_TICK_S = 1 / 30
_MEMORY_S = 5.0
_SERVERS_S = 2.0
_TWICE_S = 2.0
_LEAVE_S = 0.2
"""How long quitting waits for the engine, so that what it has computed is kept."""
_TITLES = [entry.title.lower() for entry in SCREENS]
_NEXT = f"Go to the next of {', '.join(_TITLES[:-1])} and {_TITLES[-1]}"


def _commands() -> type[Provider]:
    from edgelm_tui.shell.palette import Commands

    return Commands


class EdgeLMApp(App[None]):
    """edgelm in the terminal.

    Args:
        memory: what to show instead of this machine's, for pictures and tests.
        colours: how many the terminal has (a name of rich's: truecolor, 256, standard) instead of what its environment says.
    """

    TITLE = "edgelm"
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
        *(
            Binding(
                f"f{at}", f"mode('{entry.key}')", entry.title,
                id=f"app.{entry.key}", show=False, tooltip=entry.purpose,
            )
            for at, entry in enumerate(SCREENS, 2)
        ),
        Binding(
            "ctrl+t", "next_mode", "Next", id="app.next", show=False, priority=True,
            tooltip=_NEXT if len(_NEXT) <= LONGEST else "Go to the next screen",
        ),
        Binding("f10,comma", "preferences", "Preferences", id="app.preferences", show=False),
        Binding("ctrl+p", "command_palette", "All actions", id="app.palette", priority=True),
        Binding("ctrl+c", "interrupt", "Copy, stop, or quit", id="app.interrupt", show=False, priority=True),
        Binding("ctrl+q", "leave", "Quit", id="app.quit", show=False, priority=True),
    ]  # fmt: skip

    def __init__(
        self,
        client: EngineClient | None = None,
        jobs: JobManager | None = None,
        database: Path | None = None,
        memory: Memory | None = None,
        colours: str | None = None,
    ) -> None:
        super().__init__()
        self._colours = TerminalColours(self, colours)
        self.no_color = self._colours.none
        self.services = Services(
            self, SCREENS, self, self.notify, self.call_next,
            engine=client, jobs=jobs, database=database, memory=memory,
        )  # fmt: skip
        self._feed = EngineFeed(self.services, self.call_next, lambda: self.screen.refresh_bindings())
        self._measures_memory = memory is None
        self._interrupted_at = 0.0
        self._clashes: set[str] = set()
        for entry in SCREENS:
            self.add_mode(entry.key, partial(self._make_screen, entry))
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = self.services.settings.app.theme
        self.services.settings.on_change = self._use_settings
        self.set_keymap(dict(self.services.settings.all.keys))

    def _make_screen(self, entry: ScreenEntry) -> Screen[None]:
        return entry.load()(self.services)

    def on_mount(self) -> None:
        """Draw the first frame before the engine begins."""
        self._use_settings(self.services.settings.all)
        self.switch_mode(SCREENS[0].key)
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        if not gc.isenabled():
            gc.freeze()
            gc.enable()
        services = self.services
        if services.settings.problem:
            services.notices.say(services.settings.problem, title="Settings", severity="warning", timeout=15)
        services.engine.start()
        with services.notices.reporting(quietly=True):
            services.chats.purge()
        self.set_interval(_TICK_S, self._feed.tick)
        if self._measures_memory:
            self._measure()
            self.set_interval(_MEMORY_S, self._measure)
        self._look_for_servers()
        self.set_interval(_SERVERS_S, self._look_for_servers)
        self._check_keys()
        self._warm()

    @work(thread=True, group="warm")
    def _warm(self) -> None:
        """Import what the first answer needs before it comes."""
        from edgelm_tui.markdown.render import render_fence, render_text

        render_text("*a*\n\n| b |\n|---|\n| c |", 80)
        render_fence("```python\na\n```", 1, 80)

    @work(thread=True, group="memory", exclusive=True)
    def _measure(self) -> None:
        memory = measure_memory()
        self.call_from_thread(self._measured, memory)

    def _measured(self, memory: Memory) -> None:
        self.services.state.memory = memory
        self.services.changed()

    def _look_for_servers(self) -> None:
        # One that does not answer is waited for a little, and not asked a second time meanwhile.
        if not any(worker.group == "servers" and not worker.is_finished for worker in self.workers):
            self._ask_servers()

    @work(thread=True, group="servers")
    def _ask_servers(self) -> None:
        self.call_from_thread(self._servers_told, look_for_servers())

    def _servers_told(self, words: str) -> None:
        if words != self.services.state.servers:
            self.services.state.servers = words
            self.services.changed()

    def _use_settings(self, settings: Settings) -> None:
        self.theme = self._colours.theme_for(settings.app.theme)

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Return what is done to text and colours last of all, by what the terminal can show."""
        return self._colours.filters(super().get_line_filters())

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """Say something in the corner, to the letter: what is said may hold names and texts that are not ours."""
        del markup
        stands_s = self.NOTIFICATION_TIMEOUT if timeout is None else timeout
        if not self.services.notices.is_shown(message, title, severity, stands_s):
            super().notify(message, title=title, severity=severity, timeout=timeout, markup=False)

    async def on_event(self, event: Event) -> None:
        """Turn the carriage returns that terminals paste for the ends of lines into newlines: no widget is to see them."""
        if isinstance(event, Paste):
            event.text = unix_newlines(event.text)
        await super().on_event(event)

    def go(self, screen: str, action: str = "") -> None:
        """Go to a screen, and run one of its actions there."""
        self.switch_mode(screen)
        if action:
            self.call_later(partial(self.run_action, f"screen.{action}"))

    async def open_chat(self, session_id: int) -> None:
        """Show a saved chat, from wherever the user is."""
        self.switch_mode("chat")
        if (chat := self.services.chat) is not None:
            with self.services.notices.reporting():
                await chat.open_saved(session_id)

    def chat_with_adapter(self, base: str, adapter: str) -> None:
        """Begin a new chat with an adapter on its base."""
        self.switch_mode("chat")

        async def begin() -> None:
            if (chat := self.services.chat) is not None:
                await chat.begin_with(adapter)
            self.services.models.load(base, adapter)

        self.call_later(begin)

    def choose_model(self) -> None:
        """Ask for another model."""
        state = self.services.state
        if not state.names:
            self.notify("no model is installed; F3 finds one", severity="warning")
            return

        from edgelm_tui.shell.dialogs.questions import Choose

        def chosen(name: str | None) -> None:
            if name is not None:
                self.services.models.load(name)

        self.push_screen(Choose("Model", state.names, state.model.name if state.model else None), chosen)

    def copy(self, text: str) -> None:
        """Put a text on the clipboard."""
        if not copy_text(text):
            self.copy_to_clipboard(text)

    def action_mode(self, mode: str) -> None:
        """Go to a screen."""
        self.go(mode)

    def action_next_mode(self) -> None:
        """Go to the next screen, as the tabs stand."""
        if len(self.screen_stack) > 1:  # a dialog is open
            return
        keys = [entry.key for entry in SCREENS]
        self.go(keys[(keys.index(self.current_mode) + 1) % len(keys)])

    def action_models(self) -> None:
        """Choose another model."""
        self.choose_model()

    def action_preferences(self) -> None:
        """Open the settings of the app."""
        from edgelm_tui.screens.preferences import PreferencesScreen

        self.push_screen(PreferencesScreen(self.services.settings))

    def action_help(self) -> None:
        """Show the keys of this screen."""
        from edgelm_tui.shell.dialogs.help import HelpScreen, keys_of

        screen = self.screen
        text, others = (
            (screen.HELP_TEXT, screen.other_bindings()) if isinstance(screen, ModeScreen) else ("", ())
        )
        self.push_screen(HelpScreen(text, keys_of(screen.active_bindings.values(), others), SCREENS))

    def action_interrupt(self) -> None:
        """Copy what is selected, else clear what is typed, else stop, and twice quit."""
        services, screen = self.services, self.screen
        selected = getattr(self.focused, "selected_text", "") or screen.get_selected_text()
        now = time.monotonic()
        if selected:
            self.copy(selected)
            self.notify("copied")
        elif isinstance(screen, ModeScreen) and screen.clear_typed():
            pass
        elif services.desk.busy:
            services.waiting.stop_answer()
        elif services.state.loading:
            services.models.stop_loading()
        elif now - self._interrupted_at < _TWICE_S:
            self.action_leave()
        else:
            self._interrupted_at = now
            self.notify("Ctrl+C again quits")

    def action_leave(self) -> None:
        """Quit; the answer under way is kept as far as it came."""
        chat = self.services.chat
        with self.services.notices.reporting(quietly=True):
            if self.services.desk.busy:
                self.services.desk.stop()
            if chat is not None:
                chat.save_draft()
        self.exit()

    def on_mode_tab_chosen(self, event: ModeTab.Chosen) -> None:
        """Go where the tab that was clicked leads."""
        self.go(event.mode)

    def handle_bindings_clash(self, clashed_bindings: set[Binding], node: Any) -> None:
        """Say once that the settings put two actions on one key."""
        names = ", ".join(sorted(binding.id or binding.action for binding in clashed_bindings))
        if names not in self._clashes:
            self._clashes.add(names)
            self.notify(f"the same key is set for {names}", title="Settings", severity="warning")

    def _check_keys(self) -> None:
        """Say which ids of the settings are none."""
        from edgelm_tui.shell.keys.every_key import binding_ids

        keys = self.services.settings.all.keys
        # Every module is looked through for them.
        if keys and (unknown := sorted(set(keys) - binding_ids())):
            self.notify(
                f"config.toml: there is no key id {', '.join(unknown)}", title="Settings", severity="warning"
            )

    def close(self, timeout_s: float | None = None) -> bool:
        """Let everything go; see `Services.close`."""
        return self.services.close(timeout_s)


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
    tuning = app.services.tuning
    if tuning is not None and tuning.returncode is None:
        print("training goes on; edgelm shows it under F4 Tune, and can stop it there", file=sys.stderr)
    # Threads may be in calls that cannot be broken off, and taking MLX and its neighbours apart takes a second. All that is
    # worth keeping is on the disk: the database is closed, files are written to a sibling and renamed.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(app.return_code or 0)
