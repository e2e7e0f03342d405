"""Going from one screen to another, as screens ask for it; the app does it."""

from __future__ import annotations

from typing import Protocol


class Navigation(Protocol):
    """Goes to screens."""

    def go(self, screen: str, action: str = "") -> None:
        """Go to the screen of that key, and run one of its actions there."""

    async def open_chat(self, session_id: int) -> None:
        """Go to the chat and open a saved one."""

    def chat_with_adapter(self, base: str, adapter: str) -> None:
        """Go to a new chat with an adapter on its base, both by name or directory."""

    def choose_model(self) -> None:
        """Ask for another model."""

    def copy(self, text: str) -> None:
        """Put a text on the clipboard."""
