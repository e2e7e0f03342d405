"""The command palette: every action of the screen, every screen, theme, chat and model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content

from edgelm.errors import EdgeLMError
from edgelm_tui.settings import THEMES
from edgelm_tui.shell.keys.key_names import key_name
from edgelm_tui.shell.keys.sentences import sentence
from edgelm_tui.shell.mode_screen import ModeScreen
from edgelm_tui.shell.text.plain import highlighted

PaletteCommand = tuple[str, str, Callable[[], object]]
"""A sentence, the key that does it too, and what is done."""
_HERE = {"app.palette", "app.interrupt"}
"""Make no sense from within the palette."""
_CHATS = 200


class Commands(Provider):
    """What the palette offers."""

    async def discover(self) -> Hits:
        """Offer the actions before anything is typed."""
        for name, key, run in self._actions():
            yield DiscoveryHit(_with_key(Content(name), key), run, name)

    async def search(self, query: str) -> Hits:
        """Offer what matches."""
        matcher = self.matcher(query)
        for name, key, run in [*self._actions(), *self._places()]:
            if (score := matcher.match(name)) > 0:
                yield Hit(score, _with_key(highlighted(matcher, name), key), run, name)

    def _actions(self) -> Iterator[PaletteCommand]:
        seen = set(_HERE)
        found = sorted(self.screen.active_bindings.values(), key=lambda active: not active.binding.show)
        for active in found:  # those that the last line shows first
            binding = active.binding
            if not binding.id or binding.id in seen or binding.id.startswith("prompt."):
                continue
            seen.add(binding.id)
            name = sentence(binding)
            yield name, key_name(binding.key), self._runner(binding.action, active.node)
        if isinstance(self.screen, ModeScreen):
            for name, action in self.screen.palette_actions():
                yield name, "", self._runner(action, self.screen)

    def _places(self) -> Iterator[PaletteCommand]:
        below = next((screen for screen in self.app.screen_stack if isinstance(screen, ModeScreen)), None)
        if below is None:
            return
        services = below.services
        for theme in THEMES:
            yield f"Use the colours {theme}", "", partial(services.settings.use_theme, theme)
        for name in services.state.names:
            yield f"Load the model {name}", "", partial(services.models.load, name)
        try:
            chats = services.chats.sessions(limit=_CHATS)
        except EdgeLMError:
            chats = []
        for chat in chats:
            yield f"Open the chat {chat.title}", "", partial(services.navigation.open_chat, chat.id)

    def _runner(self, action: str, node: object) -> Callable[[], object]:
        async def run() -> None:
            await self.app.run_action(action, node)  # type: ignore[arg-type]

        return run


def _with_key(name: Content, key: str) -> Content:
    return Content.assemble(name, (f"  {key}", "$text-muted not bold")) if key else name
