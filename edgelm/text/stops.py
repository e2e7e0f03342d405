"""Finds stop strings in streamed text.

Holds back only the longest tail that may begin a stop string; everything before a match comes out exactly,
and the result does not depend on how the text was cut into pieces. Knows nothing about tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edgelm.errors import OptionError


def as_stops(stops: str | Iterable[str]) -> tuple[str, ...]:
    """Return one stop string or several, validated.

    Raises:
        OptionError: an empty stop string, or something that is not a string.
    """
    if isinstance(stops, bytes | Mapping) or not isinstance(stops, Iterable):
        raise OptionError(f"stop is {stops!r}, expected text, or several texts")
    texts = (stops,) if isinstance(stops, str) else tuple(stops)
    for stop in texts:
        if not isinstance(stop, str):
            raise OptionError(f"stop string is {stop!r}, expected text")
        if not stop:
            raise OptionError("stop string is empty, expected at least one character")
    return texts


class StopMatcher:
    """Finds the first of several strings in a stream of text.

    The match that is complete first wins; of two that end together, the one that begins first.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = tuple(stops)
        self._longest = max((len(stop) for stop in self._stops), default=0)
        self._held = ""
        self.matched: str | None = None
        self.rest = ""
        """The text after the match, once there is one."""

    def add(self, text: str) -> str:
        """Return the text that is certainly before any stop string. After a match, nothing."""
        if self.matched is not None:
            self.rest += text
            return ""
        text = self._held + text
        matches = [(at + len(stop), at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if matches:
            end, start, self.matched = min(matches)
            self._held, self.rest = "", text[end:]
            return text[:start]
        cut = len(text) - self._tail(text)
        self._held = text[cut:]
        return text[:cut]

    def finish(self) -> str:
        """Return the text that was held back: it became no stop string."""
        held, self._held = self._held, ""
        return held

    def _tail(self, text: str) -> int:
        """Length of the longest end of `text` that begins a stop string."""
        for size in range(min(self._longest - 1, len(text)), 0, -1):
            if any(stop.startswith(text[-size:]) for stop in self._stops):
                return size
        return 0
