"""The model in use: changing it, giving up one that is loading, letting it go. Knows no widget."""

from __future__ import annotations

from collections.abc import Callable

from edgelm import paths
from edgelm_tui.engine.client import EngineClient
from edgelm_tui.engine.events import Loaded
from edgelm_tui.services.notices import Notices
from edgelm_tui.services.state import AppState


class ModelSwitch:
    """Loads models into the engine, one at a time.

    Args:
        stop_answer: called before a model goes, while an answer is under way.
        chat_adapter: the directory of the adapter of the open chat, "" without one.
        changed: called when `state` is another.
    """

    def __init__(
        self,
        engine: EngineClient,
        state: AppState,
        notices: Notices,
        *,
        stop_answer: Callable[[], None],
        hold: Callable[[], None],
        chat_adapter: Callable[[], str],
        changed: Callable[[], None],
    ) -> None:
        self._engine, self._state, self._notices = engine, state, notices
        self._stop_answer, self._hold = stop_answer, hold
        self._chat_adapter, self._changed = chat_adapter, changed
        self._before: Loaded | None = None
        """The model that comes back if the one that is being loaded is given up."""
        self._last: str | None = None
        """The model that was loaded last, or would have been if it had not been let go first."""

    def load(self, name: str, adapter: str | None = None) -> None:
        """Change the model; the chat goes on with it.

        Args:
            adapter: the directory of one to put on it, "" for none; None is that of the open chat.
        """
        self._stop_answer()
        if adapter is None:
            with self._notices.reporting():
                adapter = self._chat_adapter()
        state = self._state
        self._before = state.model or self._before
        state.loading, state.model, state.problem = name, None, None
        self._engine.load(name, adapter or None)
        self._changed()

    def load_again(self, name: str | None) -> bool:
        """Load what a chat was with, or what was loaded last; False where neither is known or there any more."""
        wanted = next((known for known in (name, self._last) if known in self._state.names), None)
        if wanted is not None:
            self.load(wanted)
        return wanted is not None

    def use_adapter(self, adapter: str) -> None:
        """Put an adapter on the model, if it is not there yet."""
        model = self._state.model
        if model is not None and (model.adapter or "") != adapter:
            self.load(model.directory or model.name, adapter)

    def forget(self) -> None:
        """Let the model go, and give up one that is being loaded; what waits for that is held."""
        self._stop_answer()
        state = self._state
        if state.loading:
            if state.loading in state.names:
                self._last = state.loading
            state.loading = None
            self._hold()
        state.model = self._before = None
        self._engine.unload()
        self._changed()

    def stop_loading(self) -> None:
        """Give up the model that is being loaded; nothing waits for it longer, and the one before comes back."""
        state = self._state
        name, state.loading = state.loading, None
        before, self._before = self._before, None
        self._engine.stop_loading()
        self._hold()
        if before is not None:
            self._engine.load(before.directory or before.name, before.adapter)
            state.loading = before.name
            self._notices.say(f"loading {name} was stopped; {before.name} comes back")
        else:
            state.problem = f"loading {name} was stopped; Ctrl+L chooses a model"
        self._changed()

    def began(self, name: str) -> bool:
        """Note that the engine loads a model; False where it was given up meanwhile."""
        if not self._state.loading:
            return False
        self._state.loading, self._state.model, self._state.problem = name, None, None
        return True

    def came(self, model: Loaded) -> None:
        """Note that a model is ready, and remember it for the next start."""
        from edgelm.library.recent import remember_model

        self._state.model, self._state.loading = model, None
        self._before, self._last = None, model.name
        if not model.is_back:
            self._state.problem = None
            remember_model(model.name)


def installed_adapters() -> list[str]:
    """Return the directories of the adapters that are installed, by name."""
    folder = paths.adapters()
    if not folder.is_dir():
        return []
    directories = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(str(path) for path in directories if (path / "adapter_config.json").is_file())
