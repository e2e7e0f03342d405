"""The terminal app's entrance. Each screen is a file of `screens/`; the model lives behind `client`."""

from __future__ import annotations

import os

# Without it, a terminal that does not speak Kitty's protocol delays Esc by a tenth of a second.
os.environ.setdefault("ESCDELAY", "25")

from textual.app import App

from edgelm_tui.client import EngineClient
from edgelm_tui.screens.chat import ChatScreen


class EdgeLMApp(App[None]):
    """edgelm in the terminal."""

    TITLE = "edgelm"

    def __init__(self, client: EngineClient | None = None) -> None:
        super().__init__()
        self.client = client or EngineClient()

    def on_mount(self) -> None:
        """Open on the chat."""
        self.push_screen(ChatScreen(self.client))


def run_app() -> None:
    """Run until the user quits."""
    app = EdgeLMApp()
    try:
        app.run()
    finally:
        app.client.close()
