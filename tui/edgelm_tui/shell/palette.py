"""The command palette: every action of the screen, every mode, theme, chat and model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content

from edgelm.errors import EdgeLMError
from edgelm_tui.shell.keys.key_names import key_name
from edgelm_tui.shell.keys.sentences import sentence
from edgelm_tui.shell.text.plain import highlighted

if TYPE_CHECKING:
    from edgelm_tui.app import EdgeLMApp

Command = tuple[str, str, Callable[[], object]]
"""A sentence, the key that does it too, and what is done."""
_HERE = {"app.palette", "app.interrupt"}
"""Make no sense from within the palette."""
_CHATS = 200


class Commands(Provider):
    """What the palette offers."""

    @property
    def edgelm(self) -> EdgeLMApp:
        """The app, as what it is."""
        return cast("EdgeLMApp", self.app)

    async def discover(self) -> Hits:
        """Before anything is typed: the actions."""
        for name, key, run in self._actions():
            yield DiscoveryHit(_with_key(Content(name), key), run, name)

    async def search(self, query: str) -> Hits:
        """What matches."""
        matcher = self.matcher(query)
        for name, key, run in [*self._actions(), *self._places()]:
            if (score := matcher.match(name)) > 0:
                yield Hit(score, _with_key(highlighted(matcher, name), key), run, name)

    def _actions(self) -> Iterator[Command]:
        seen = set(_HERE)
        found = sorted(self.screen.active_bindings.values(), key=lambda active: not active.binding.show)
        for active in found:  # those that the last line shows first
            binding = active.binding
            if not binding.id or binding.id in seen or binding.id.startswith("prompt."):
                continue
            seen.add(binding.id)
            name = sentence(binding.id, binding.description)
            yield name, key_name(binding.key), self._runner(binding.action, active.node)
        for name, action in self.edgelm.palette_actions(self.screen):
            yield name, "", self._runner(action, self.screen)

    def _places(self) -> Iterator[Command]:
        app = self.edgelm
        for theme in app.theme_names:
            yield f"Use the colours {theme}", "", lambda theme=theme: app.use_theme(theme)  # type: ignore[misc]
        for name in app.state.names:
            yield f"Load the model {name}", "", lambda name=name: app.load_model(name)  # type: ignore[misc]
        try:
            sessions = app.chats.sessions(limit=_CHATS)
        except EdgeLMError:
            sessions = []
        for session in sessions:
            yield f"Open the chat {session.title}", "", lambda at=session.id: app.open_chat(at)  # type: ignore[misc]

    def _runner(self, action: str, node: object) -> Callable[[], object]:
        async def run() -> None:
            await self.app.run_action(action, node)  # type: ignore[arg-type]

        return run


def _with_key(name: Content, key: str) -> Content:
    return Content.assemble(name, (f"  {key}", "$text-muted not bold")) if key else name
