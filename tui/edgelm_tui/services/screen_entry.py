"""A screen as the list of screens names it; tabs, keys, help and palette are made of that."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from textual.screen import Screen


@dataclass(frozen=True, slots=True)
class ScreenEntry:
    """One screen in the list of screens."""

    key: str
    """The screen's name in actions (`mode('library')`) and in ids of keys (`app.library`, `library.sort`)."""
    title: str
    """The word on its tab."""
    place: str
    """Where its class is, as `module:Class`; imported when it is shown first. The class takes the services."""
    sentence: str = ""
    """What the key that goes there does; "Go to" and the title unless it is said."""
    groups: Mapping[str, str] = field(default_factory=dict)
    """More groups of keys that help shows, beside the screen's own: beginning of their ids → heading."""

    def load(self) -> Callable[..., Screen[None]]:
        """Import the screen's class."""
        module, _, name = self.place.partition(":")
        made: Callable[..., Screen[None]] = getattr(importlib.import_module(module), name)
        return made

    @property
    def purpose(self) -> str:
        """What the key that goes to the screen does, as a sentence."""
        return self.sentence or f"Go to {self.title.lower()}"
