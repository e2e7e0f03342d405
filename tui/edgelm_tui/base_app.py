"""What the app holds: engine, database, jobs, settings, and what can be done from every screen."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

# Without it, a terminal that does not speak Kitty's protocol delays Esc by a tenth of a second.
os.environ.setdefault("ESCDELAY", "25")

from textual.app import App
from textual.binding import Binding
from textual.color import Color
from textual.events import Event, Paste
from textual.filter import LineFilter
from textual.notifications import SeverityLevel
from textual.signal import Signal

from edgelm import paths
from edgelm.conversation.asking import Asker
from edgelm.errors import EdgeLMError, NotFoundError, OptionError
from edgelm.machine.memory import Memory
from edgelm.store.chats import Chats
from edgelm.store.newlines import unix_newlines
from edgelm_tui.clipboard import copy_text
from edgelm_tui.engine.answer_desk import AnswerDesk
from edgelm_tui.engine.client import EngineClient
from edgelm_tui.engine.events import ClientEvent, FitKnown, Loaded
from edgelm_tui.jobs.manager import Job, JobManager
from edgelm_tui.jobs.process import ChildProcess
from edgelm_tui.screens.chat.screen import ChatScreen
from edgelm_tui.settings import THEMES as THEME_NAMES
from edgelm_tui.settings import Settings, read_settings, settings_file, write_settings
from edgelm_tui.shell.colours.colour_levels import Colours256, NoColours
from edgelm_tui.shell.colours.themes import THEMES
from edgelm_tui.shell.state import AppState
from edgelm_tui.shell.text.no_controls import NoControls

_LOCK_S = 0.25
"""How long the interface waits for another process's write; then it says so and tries again."""
_COMPLAIN_S = 4.0
_HARMLESS = (OptionError, NotFoundError)


class AppBase(App[None]):
    """The parts, and what they do together. Screens know the app as this.

    Args:
        memory: what to show instead of this machine's, for pictures and tests.
        colours: how many the terminal has (a name of rich's: truecolor, 256, standard) instead of what its environment says.
    """

    def __init__(
        self,
        client: EngineClient | None = None,
        jobs: JobManager | None = None,
        database: Path | None = None,
        memory: Memory | None = None,
        colours: str | None = None,
    ) -> None:
        self.settings, self._problem = read_settings(settings_file())
        super().__init__()
        self.no_color = bool(os.environ.get("NO_COLOR"))  # an empty one does not count, says no-color.org
        self._colours = colours
        self._no_colours, self._colours_256 = NoColours(self._ground), Colours256()
        self._no_controls = NoControls()
        self.client = client or EngineClient()
        self.jobs = jobs or JobManager()
        self.chats = Chats(database or paths.database(), timeout_s=_LOCK_S)
        self.desk = AnswerDesk(self.client, self.chats, self._complain)
        self.asker = Asker(self.chats, lambda: self.settings.chat, lambda: self.state.model)
        self.state = AppState(memory=memory)
        self.state_changed: Signal[AppState] = Signal(self, "state")
        self.fit_known: Signal[FitKnown] = Signal(self, "fit")
        self.jobs_changed: Signal[list[Job]] = Signal(self, "jobs")
        self.engine_heard: Signal[ClientEvent] = Signal(self, "engine")
        self.tuning: ChildProcess | None = None
        """The training run that was begun in this app."""
        self._training = ""
        self._clashes: set[str] = set()
        self._said_until: dict[tuple[str, str, str], float] = {}
        """What stands in the corner, and when it goes."""
        self._measures_memory = memory is None
        self._complained_at = 0.0
        self._waiting_in: list[int] = []
        """Chats in which prompts wait for the model or for the answer of another chat."""
        self._before: Loaded | None = None
        """The model that comes back if the one that is being loaded is given up."""
        self._used: str | None = None
        """The model that was loaded last."""
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = self.settings.app.theme
        self.set_keymap(dict(self.settings.keys))

    def get_line_filters(self) -> Sequence[LineFilter]:
        """What is done to the text and its colours last of all, by what the terminal can show."""
        if self.no_color:
            return [self._no_controls, self._no_colours]
        others = [self._colours_256] if self._colour_system == "256" else []
        return [self._no_controls, *super().get_line_filters(), *others]

    def _theme_for(self, name: str) -> str:
        """A terminal that has only its own sixteen colours gets those."""
        return "ansi" if self._colour_system == "standard" and not self.no_color else name

    @property
    def _colour_system(self) -> str | None:
        # Pictures and tests have all colours, whatever the terminal is.
        return self._colours or ("truecolor" if self.is_headless else self.console.color_system)

    def _ground(self) -> Color:
        ground = Color.parse(self.theme_variables["background"])
        return Color(0, 0, 0) if ground.ansi is not None else ground

    @property
    def theme_names(self) -> tuple[str, ...]:
        """Those of the settings."""
        return THEME_NAMES

    @contextmanager
    def reporting(self, *, quietly: bool = False) -> Iterator[None]:
        """Say what goes wrong in the block."""
        try:
            yield
        except EdgeLMError as error:
            if not quietly:
                self.report(error.message, error.hint, harmless=isinstance(error, _HARMLESS))

    def report(self, message: str, hint: str | None = None, *, harmless: bool = False) -> None:
        """Say what went wrong, for a while in the corner.

        Args:
            harmless: nothing is broken: what was asked for cannot be, or is not there.
        """
        text = message + (f"\nhint: {hint}" if hint else "")
        if harmless:
            self.notify(text, severity="warning", timeout=8)
        else:
            self.notify(text, title="Error", severity="error", timeout=10)

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
        now = time.monotonic()
        said = (message, title, severity)
        if now < self._said_until.get(said, 0.0):
            return  # it stands there already
        self._said_until[said] = now + (self.NOTIFICATION_TIMEOUT if timeout is None else timeout)
        super().notify(message, title=title, severity=severity, timeout=timeout, markup=False)

    async def on_event(self, event: Event) -> None:
        """Terminals paste carriage returns for the ends of lines: no widget is to see them."""
        if isinstance(event, Paste):
            event.text = unix_newlines(event.text)
        await super().on_event(event)

    def chat_screen(self) -> ChatScreen | None:
        """The chat, if it was opened yet and is not being closed."""
        stack = self._screen_stacks.get("chat", [])
        screen = stack[0] if stack else None
        return screen if isinstance(screen, ChatScreen) and screen.open_chat.is_whole else None

    def changed(self) -> None:
        """Tell the screens about the state."""
        self.state_changed.publish(self.state)

    def load_model(self, name: str, adapter: str | None = None) -> None:
        """Change the model; the chat goes on with it."""
        if self.desk.busy:
            self.stop_answer()
        if adapter is None:
            chat = self.chat_screen()
            with self.reporting():
                adapter = chat.open_chat.settings.adapter if chat is not None else ""
        self._before = self.state.model or self._before
        self.state.loading, self.state.model, self.state.problem = name, None, None
        self.client.load(name, adapter or None)
        self.changed()

    def load_again(self, name: str | None) -> bool:
        """Load what a chat was with, or what was loaded last; False where that is not known or not there any more."""
        wanted = next((one for one in (name, self._used) if one in self.state.names), None)
        if wanted is not None:
            self.load_model(wanted)
        return wanted is not None

    def use_adapter(self, adapter: str) -> None:
        """Put an adapter on the model, if it is not there yet."""
        model = self.state.model
        if model is not None and (model.adapter or "") != adapter:
            self.load_model(model.directory or model.name, adapter)

    def show_job(self, training: str) -> None:
        """What runs, in the status line."""
        self._training = training
        shown = " · ".join(part for part in (training, self.jobs.status()) if part)
        if shown != self.state.job:
            self.state.job = shown
            self.changed()

    def forget_model(self) -> None:
        """Let the model go."""
        if self.desk.busy:
            self.stop_answer()
        self.state.model = self._before = None
        self.client.unload()
        self.changed()

    def chat_with_adapter(self, base: str, adapter: str) -> None:
        """A new chat with an adapter on its base."""
        self.switch_mode("chat")

        async def begin() -> None:
            chat = self.chat_screen()
            if chat is not None:
                await chat.action_new()
                chat.open_chat.adopt_adapter(adapter)
            self.load_model(base, adapter)

        self.call_later(begin)

    def send_when_free(self, session_id: int) -> None:
        """The prompts that wait in a chat are sent once the model is there and answers nothing else."""
        self._waiting_in.append(session_id)

    def send_next(self, first: int | None = None) -> None:
        """Send the next prompt that waits: in the chat `first`, else in the one that has waited longest."""
        for session_id in dict.fromkeys([*([] if first is None else [first]), *self._waiting_in]):
            if (asked := self.asker.next_queued(session_id)) is not None:
                self.desk.ask(asked)
                return
            self._waiting_in = [one for one in self._waiting_in if one != session_id]

    def hold(self) -> None:
        """What waits stays until Enter on an empty prompt."""
        self._waiting_in.clear()

    def stop_answer(self) -> None:
        """Stop the answer under way, and show that at once; prompts that wait are not sent without being asked for."""
        self.hold()
        answer = self.desk.stop()
        chat = self.chat_screen()
        if answer is not None and chat is not None:
            self.call_next(chat.open_chat.answer_changed, answer)

    def stop_loading(self) -> None:
        """Give up the model that is being loaded; the screen waits for it no longer, and the one before comes back."""
        name, self.state.loading = self.state.loading, None
        before, self._before = self._before, None
        self.client.stop_loading()
        self.hold()
        if before is not None:
            self.client.load(before.directory or before.name, before.adapter)
            self.state.loading = before.name
            self.notify(f"loading {name} was stopped; {before.name} comes back")
        else:
            self.state.problem = f"loading {name} was stopped; Ctrl+L chooses a model"
        self.changed()

    async def open_chat(self, session_id: int) -> None:
        """Show a chat, from wherever the user is."""
        self.switch_mode("chat")
        chat = self.chat_screen()
        if chat is not None:
            with self.reporting():
                await chat.open_chat.open(session_id)
                chat.open_chat.prompt.focus()

    def adapters(self) -> list[str]:
        """The directories of the adapters that are installed."""
        folder = paths.adapters()
        if not folder.is_dir():
            return []
        found = (path for path in folder.iterdir() if not path.name.startswith("."))
        return sorted(str(path) for path in found if (path / "adapter_config.json").is_file())

    def copy(self, text: str) -> None:
        """To the clipboard."""
        if not copy_text(text):
            self.copy_to_clipboard(text)

    def use_theme(self, name: str) -> None:
        """Change the colours, and remember."""
        self.theme = name
        self.keep_settings(replace(self.settings, app=replace(self.settings.app, theme=name)))

    def keep_settings(self, settings: Settings) -> None:
        """Use them, and write them down."""
        self.settings = settings
        self.theme = self._theme_for(settings.app.theme)
        with self.reporting():
            write_settings(settings, settings_file())

    def _complain(self, text: str) -> None:
        if time.monotonic() - self._complained_at > _COMPLAIN_S:
            self._complained_at = time.monotonic()
            self.notify(text, severity="error")

    def action_models(self) -> None:
        """Choose another model."""
        names = self.state.names
        if not names:
            self.notify("no model is installed; F3 finds one", severity="warning")
            return

        from edgelm_tui.shell.dialogs.questions import Choose

        def chosen(name: str | None) -> None:
            if name is not None:
                self.load_model(name)

        current = self.state.model.name if self.state.model else None
        self.push_screen(Choose("Model", names, current), chosen)

    def handle_bindings_clash(self, clashed_bindings: set[Binding], node: Any) -> None:
        """Two actions on one key, by the settings: said once."""
        names = ", ".join(sorted(binding.id or binding.action for binding in clashed_bindings))
        if names not in self._clashes:
            self._clashes.add(names)
            self.notify(f"the same key is set for {names}", title="Settings", severity="warning")

    def check_keys(self) -> None:
        """Say which ids of the settings are none."""
        from edgelm_tui.shell.keys.every_key import binding_ids

        # Every module is looked through for them.
        if self.settings.keys and (unknown := sorted(set(self.settings.keys) - binding_ids())):
            self.notify(
                f"config.toml: there is no key id {', '.join(unknown)}", title="Settings", severity="warning"
            )

    def close(self, timeout_s: float | None = None) -> bool:
        """Let everything go, but a training run, which goes on; again is a no-op.

        With `timeout_s`, nothing is waited for longer: jobs tidy up after this process, and False means that the engine
        is still busy.
        """
        if timeout_s is None:
            self.jobs.close()
        else:
            self.jobs.interrupt()
        ended = self.client.close(timeout_s)
        self.chats.close()
        return ended
