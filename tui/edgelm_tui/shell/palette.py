"""The command palette: every action of the screen, every mode, theme, chat and model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content

from edgelm.errors import EdgeLMError
from edgelm_tui.shell.plain import highlighted

if TYPE_CHECKING:
    from edgelm_tui.app import EdgeLMApp

Command = tuple[str, str, Callable[[], object]]
_CHATS = 200


class Commands(Provider):
    """What the palette offers."""

    @property
    def edgelm(self) -> EdgeLMApp:
        """The app, as what it is."""
        return cast("EdgeLMApp", self.app)

    async def discover(self) -> Hits:
        """Before anything is typed: the actions."""
        for name, help_text, run in self._actions():
            yield DiscoveryHit(Content(name), run, name, help_text)

    async def search(self, query: str) -> Hits:
        """What matches."""
        matcher = self.matcher(query)
        for name, help_text, run in [*self._actions(), *self._places()]:
            if (score := matcher.match(name)) > 0:
                yield Hit(score, highlighted(matcher, name), run, name, help_text)

    def _actions(self) -> Iterator[Command]:
        seen = set()
        found = sorted(self.screen.active_bindings.values(), key=lambda active: not active.binding.show)
        for active in found:  # those that the last line shows first
            binding = active.binding
            if not binding.id or binding.id in seen or binding.id.startswith("prompt."):
                continue
            seen.add(binding.id)
            yield binding.description, binding.id, self._runner(binding.action, active.node)
        for name, action in self.edgelm.palette_actions(self.screen):
            yield name, "", self._runner(action, self.screen)

    def _places(self) -> Iterator[Command]:
        app = self.edgelm
        for theme in app.theme_names:
            yield f"Theme: {theme}", "colours", lambda theme=theme: app.use_theme(theme)  # type: ignore[misc]
        for name in app.state.names:
            yield f"Model: {name}", "load it", lambda name=name: app.load_model(name)  # type: ignore[misc]
        try:
            sessions = app.chats.sessions(limit=_CHATS)
        except EdgeLMError:
            sessions = []
        for session in sessions:
            yield f"Chat: {session.title}", "open it", lambda at=session.id: app.open_chat(at)  # type: ignore[misc]

    def _runner(self, action: str, node: object) -> Callable[[], object]:
        async def run() -> None:
            await self.app.run_action(action, node)  # type: ignore[arg-type]

        return run
