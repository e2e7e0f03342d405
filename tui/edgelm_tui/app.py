"""The terminal app: modes over one engine, one database and one queue of jobs.

This file joins the parts: it drains the engine thirty times a second, tells the screens what has changed, and holds what
can be done from everywhere.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

# Without it, a terminal that does not speak Kitty's protocol delays Esc by a tenth of a second.
os.environ.setdefault("ESCDELAY", "25")

from textual import work
from textual.app import App
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.signal import Signal

from edgelm import paths
from edgelm.errors import EdgeLMError
from edgelm.memory import Memory, measure_memory
from edgelm.store.chats import Chats
from edgelm_tui.answers import Answer, AnswerDesk
from edgelm_tui.arena import ArenaScreen
from edgelm_tui.chat.screen import ChatScreen
from edgelm_tui.chat.sending import Sender
from edgelm_tui.chat.welcome import Welcome
from edgelm_tui.clipboard import copy_text
from edgelm_tui.engine.client import EngineClient
from edgelm_tui.engine.events import ClientEvent, Ended, Failed, FitKnown, Library, Loaded, Loading, Said
from edgelm_tui.jobs.manager import Job, JobManager
from edgelm_tui.jobs.process import ChildProcess
from edgelm_tui.settings import THEMES as THEME_NAMES
from edgelm_tui.settings import Settings, read_settings, settings_file, write_settings
from edgelm_tui.shell.base import ModeScreen
from edgelm_tui.shell.dialogs import Choose
from edgelm_tui.shell.help import HelpScreen, keys_of
from edgelm_tui.shell.palette import Commands
from edgelm_tui.shell.state import AppState
from edgelm_tui.shell.tabs import MODES, ModeTab
from edgelm_tui.shell.themes import THEMES

_TICK_S = 1 / 30
_MEMORY_S = 5.0
_TWICE_S = 2.0
_LOCK_S = 0.25
"""How long the interface waits for another process's write; then it says so and tries again."""


def _library_screen() -> Screen[Any]:
    from edgelm_tui.library.screen import LibraryScreen

    return LibraryScreen()


def _tune_screen() -> Screen[Any]:
    from edgelm_tui.tune.screen import TuneScreen

    return TuneScreen()


class EdgeLMApp(App[None]):
    """edgelm in the terminal."""

    TITLE = "edgelm"
    MODES: ClassVar[dict[str, Any]] = {
        "chat": ChatScreen,
        "library": _library_screen,
        "tune": _tune_screen,
        "arena": ArenaScreen,
    }
    COMMANDS: ClassVar[set[Any]] = {Commands}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1", "help", "Help", id="app.help"),
        Binding("f2", "mode('chat')", "Chat", id="app.chat", show=False),
        Binding("f3", "mode('library')", "Library", id="app.library", show=False),
        Binding("f4", "mode('tune')", "Tune", id="app.tune", show=False),
        Binding("f5", "mode('arena')", "Arena", id="app.arena", show=False),
        Binding("f10", "preferences", "Preferences", id="app.preferences", show=False),
        Binding("ctrl+p", "command_palette", "Palette", id="app.palette", priority=True),
        Binding("ctrl+c", "interrupt", "Copy, stop, or quit", id="app.interrupt", show=False, priority=True),
        Binding("ctrl+q", "leave", "Quit", id="app.quit", show=False, priority=True),
    ]

    def __init__(
        self,
        client: EngineClient | None = None,
        jobs: JobManager | None = None,
        database: Path | None = None,
        memory: Memory | None = None,
    ) -> None:
        self.settings, self._problem = read_settings(settings_file())
        super().__init__()
        self.client = client or EngineClient()
        self.jobs = jobs or JobManager()
        self.chats = Chats(database or paths.database(), timeout_s=_LOCK_S)
        self.desk = AnswerDesk(self.client, self.chats, self._complain)
        self.sender = Sender(self.chats, self.desk, lambda: self.settings.chat, lambda: self.state.model)
        self.state = AppState(memory=memory)
        self.state_changed: Signal[AppState] = Signal(self, "state")
        self.fit_known: Signal[FitKnown] = Signal(self, "fit")
        self.jobs_changed: Signal[list[Job]] = Signal(self, "jobs")
        self.engine_heard: Signal[ClientEvent] = Signal(self, "engine")
        self.tuning: ChildProcess | None = None
        """The training run that was begun in this app."""
        self._training = ""
        self._measures_memory = memory is None
        self._interrupted_at = 0.0
        self._complained_at = 0.0
        self._wanted: tuple[str, str] | None = None
        self._after_load: list[int] = []
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = self.settings.app.theme
        self.set_keymap(dict(self.settings.keys))

    @property
    def theme_names(self) -> tuple[str, ...]:
        """Those of the settings."""
        return THEME_NAMES

    def on_mount(self) -> None:
        """The first frame is drawn before the engine begins."""
        self.switch_mode("chat")
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        if self._problem:
            self.notify(self._problem, title="Settings", severity="warning", timeout=15)
        self.client.start()
        self.set_interval(_TICK_S, self._tick)
        if self._measures_memory:
            self._measure()
            self.set_interval(_MEMORY_S, self._measure)
        self._check_keys()

    @contextmanager
    def reporting(self, *, quietly: bool = False) -> Iterator[None]:
        """Say what goes wrong in the block."""
        try:
            yield
        except EdgeLMError as error:
            if not quietly:
                self.report(error.message, error.hint)

    def report(self, message: str, hint: str | None = None) -> None:
        """An error, for a while in the corner."""
        self.notify(
            message + (f"\nhint: {hint}" if hint else ""), title="Error", severity="error", timeout=10
        )

    def chat_screen(self) -> ChatScreen | None:
        """The chat, if it was opened yet."""
        stack = self._screen_stacks.get("chat", [])
        screen = stack[0] if stack else None
        return screen if isinstance(screen, ChatScreen) and screen.is_mounted else None

    def changed(self) -> None:
        """Tell the screens about the state."""
        self.state_changed.publish(self.state)

    # What happens ---------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        touched: dict[int, Answer] = {}
        for event in self.client.drain():
            answer = await self._take(event)
            self.engine_heard.publish(event)
            if answer is not None:
                touched[answer.message_id] = answer
        chat = self.chat_screen()
        for answer in touched.values():
            if chat is not None:
                await chat.answer_changed(answer)
        self.desk.tick()
        if chat is not None:
            await chat.tick()
        if changed := self.jobs.tick():
            self._jobs_changed(changed)

    async def _take(self, event: ClientEvent) -> Answer | None:
        match event:
            case Said() | Ended():
                return self._heard(event)
            case Failed(message, hint, job):
                if job is not None:
                    return self._heard(event)
                self.state.loading = None
                self.state.problem = message
                self._after_load.clear()
                self.report(message, hint)
                await self._note(f"error: {message}" + (f"\nhint: {hint}" if hint else ""), error=True)
            case Library(names):
                self._listed(names)
            case Loading(name):
                self.state.loading, self.state.model, self.state.problem = name, None, None
            case Loaded():
                await self._loaded(event)
            case FitKnown():
                self.fit_known.publish(event)
        self.changed()
        return None

    def _heard(self, event: Said | Ended | Failed) -> Answer | None:
        answer = self.desk.take(event)
        if answer is not None and not self.desk.busy and answer.state in ("complete", "length"):
            with self.reporting():
                self.sender.send_queued(answer.session_id)
                chat = self.chat_screen()
                if chat is not None and chat.session_id == answer.session_id:
                    self.call_next(chat.reload)
        return answer

    def _listed(self, names: tuple[str, ...]) -> None:
        first = not self.state.is_listed
        self.state.names, self.state.is_listed = names, True
        if self.state.model is not None or self.state.loading or not names:
            return
        from edgelm.model.recent import last_model

        last = last_model() if first else None
        if last in names:
            self.load_model(str(last))
        elif len(names) == 1:
            self.load_model(names[0])
        elif first:
            self.action_models()

    async def _loaded(self, event: Loaded) -> None:
        from edgelm.model.recent import remember_model

        self.state.model, self.state.loading, self.state.problem = event, None, None
        remember_model(event.name)
        chat = self.chat_screen()
        if chat is not None and chat.session_id is not None and not self.desk.busy:
            with self.reporting():
                if chat.session_id in self._after_load:
                    self.sender.send_queued(chat.session_id)
                await chat.reload()
        self._after_load.clear()

    async def _note(self, text: str, *, error: bool = False) -> None:
        chat = self.chat_screen()
        if chat is not None:
            await chat.transcript.notice(text, error=error)

    def _jobs_changed(self, changed: list[Job]) -> None:
        self.show_job(self._training)
        for job in changed:
            if job.state == "done":
                self.notify(f"{job.title}: done")
                self.client.look()
            elif job.state == "failed":
                self.report(f"{job.title}: {job.message}")
        self.jobs_changed.publish(changed)
        self.changed()

    @work(thread=True, group="memory", exclusive=True)
    def _measure(self) -> None:
        memory = measure_memory()
        self.call_from_thread(self._measured, memory)

    def _measured(self, memory: Memory) -> None:
        self.state.memory = memory
        self.changed()

    def _complain(self, text: str) -> None:
        if time.monotonic() - self._complained_at > _TWICE_S * 2:
            self._complained_at = time.monotonic()
            self.notify(text, severity="error")

    # What can be done from everywhere -------------------------------------------------------------------------

    def load_model(self, name: str, adapter: str | None = None) -> None:
        """Change the model; the chat goes on with it."""
        if self.desk.busy:
            self.stop_answer()
        if adapter is None:
            chat = self.chat_screen()
            with self.reporting():
                adapter = chat.chat_settings.adapter if chat is not None else ""
        self.state.loading, self.state.model = name, None
        self._wanted = (name, adapter or "")
        self.client.load(name, adapter or None)
        self.changed()

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
        self.state.model = None
        self.client.unload()
        self.changed()

    def chat_with_adapter(self, base: str, adapter: str) -> None:
        """A new chat with an adapter on its base."""
        self.action_mode("chat")

        async def begin() -> None:
            chat = self.chat_screen()
            if chat is not None:
                await chat.action_new()
                chat.adopt_adapter(adapter)
            self.load_model(base, adapter)

        self.call_later(begin)

    def send_after_load(self, session_id: int) -> None:
        """The prompts that wait in a chat are for the model that is being loaded."""
        self._after_load.append(session_id)

    def stop_answer(self) -> None:
        """Stop the answer under way, and show that at once."""
        answer = self.desk.stop()
        chat = self.chat_screen()
        if answer is not None and chat is not None:
            self.call_next(chat.answer_changed, answer)

    async def open_chat(self, session_id: int) -> None:
        """Show a chat, from wherever the user is."""
        self.action_mode("chat")
        chat = self.chat_screen()
        if chat is not None:
            with self.reporting():
                await chat.open(session_id)
                chat.prompt.focus()

    def adapters(self) -> list[str]:
        """The directories of the adapters that are installed."""
        folder = paths.adapters()
        if not folder.is_dir():
            return []
        return sorted(str(path) for path in folder.iterdir() if (path / "adapter_config.json").is_file())

    def copy(self, text: str) -> None:
        """To the clipboard."""
        if not copy_text(text):
            self.copy_to_clipboard(text)

    def use_theme(self, name: str) -> None:
        """Change the colours, and remember."""
        import dataclasses

        self.theme = name
        self.keep_settings(
            dataclasses.replace(self.settings, app=dataclasses.replace(self.settings.app, theme=name))
        )

    def keep_settings(self, settings: Settings) -> None:
        """Use them, and write them down."""
        self.settings = settings
        self.theme = settings.app.theme
        with self.reporting():
            write_settings(settings, settings_file())

    def palette_actions(self, screen: Screen[Any]) -> list[tuple[str, str]]:
        """What the palette offers beside the keys that work now."""
        actions = [(f"Go to {title}", f"app.mode('{mode}')") for mode, title in MODES.items()]
        if isinstance(screen, ChatScreen):
            actions += [
                (binding.description, f"screen.message({binding.action.partition('(')[2]}")
                for binding in _message_bindings()
            ]
            actions += [
                (f"{name.capitalize()} this chat", f"screen.session('{name}')")
                for name in ("rename", "duplicate", "delete", "export", "folder")
            ]
            actions += [
                ("Import a chat", "screen.session('import')"),
                ("Undo deletion", "screen.session('undo')"),
            ]
        return actions

    # Actions --------------------------------------------------------------------------------------------------

    def action_mode(self, mode: str) -> None:
        """Go to a mode."""
        self.switch_mode(mode)

    def action_models(self) -> None:
        """Choose another model."""
        names = self.state.names
        if not names:
            self.notify("no model is installed; F3 finds one", severity="warning")
            return

        def chosen(name: str | None) -> None:
            if name is not None:
                self.load_model(name)

        current = self.state.model.name if self.state.model else None
        self.push_screen(Choose("Model", names, current), chosen)

    def action_preferences(self) -> None:
        """The settings of the app."""
        from edgelm_tui.shell.preferences import PreferencesScreen

        self.push_screen(PreferencesScreen(self.settings))

    def action_help(self) -> None:
        """The keys of this screen."""
        screen = self.screen
        text = screen.HELP_TEXT if isinstance(screen, ModeScreen) else ""
        others: Iterable[Binding] = _message_bindings() if isinstance(screen, ChatScreen) else ()
        self.push_screen(HelpScreen(text, keys_of(screen.active_bindings.values(), others)))

    def action_interrupt(self) -> None:
        """Ctrl+C: copy what is selected, else stop, and twice quits."""
        selected = getattr(self.focused, "selected_text", "") or self.screen.get_selected_text()
        now = time.monotonic()
        if selected:
            self.copy(selected)
            self.notify("copied")
        elif self.desk.busy:
            self.stop_answer()
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
                chat.save_draft()
        self.exit()

    def on_mode_tab_chosen(self, event: ModeTab.Chosen) -> None:
        """A click on a tab."""
        self.action_mode(event.mode)

    def on_welcome_wanted(self, event: Welcome.Wanted) -> None:
        """A button of the empty library."""
        if event.what == "demo":
            self.jobs.add("convert", "Converting smollm2", {"source": "smollm2"})
        else:
            self.action_mode("library")
            self.call_later(self._search_hub)

    async def _search_hub(self) -> None:
        await self.run_action("screen.hub")

    def handle_bindings_clash(self, clashed_bindings: set[Binding], node: Any) -> None:
        """Two actions on one key, by the settings: said once."""
        names = ", ".join(sorted(binding.id or binding.action for binding in clashed_bindings))
        if names not in self._clashes:
            self._clashes.add(names)
            self.notify(f"the same key is set for {names}", title="Settings", severity="warning")

    _clashes: ClassVar[set[str]] = set()

    def _check_keys(self) -> None:
        """Say which ids of the settings are none."""
        from edgelm_tui.shell.keys import binding_ids

        unknown = sorted(set(self.settings.keys) - binding_ids())
        if unknown:
            self.notify(
                f"config.toml: there is no key id {', '.join(unknown)}", title="Settings", severity="warning"
            )

    def close(self) -> None:
        """Let everything go; again is a no-op."""
        self.jobs.close()
        if self.tuning is not None:
            self.tuning.close()  # as Ctrl-C: it ends with a checkpoint
        self.client.close()
        self.chats.close()


def _message_bindings() -> list[Binding]:
    from edgelm_tui.chat.view import MessageView

    return [item for item in MessageView.BINDINGS if isinstance(item, Binding)]


def run_app() -> None:
    """Run until the user quits."""
    app = EdgeLMApp()
    try:
        app.run()
    finally:
        app.close()
