"""Notices in the corner of the screen: errors with their hints, and nothing twice while it stands there. Knows no widget."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from textual.notifications import SeverityLevel

from edgelm.errors import EdgeLMError, NotFoundError, OptionError

_COMPLAIN_S = 4.0
"""Seconds between two complaints about what fails again and again."""
_HARMLESS = (OptionError, NotFoundError)


class Show(Protocol):
    """Shows a notice, as `App.notify` does."""

    def __call__(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
    ) -> None: ...


class Notices:
    """Says things in the corner.

    Args:
        show: shows one.
    """

    def __init__(self, show: Show) -> None:
        self._show = show
        self._complained_at = 0.0
        self._shown_until: dict[tuple[str, str, str], float] = {}

    def say(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
    ) -> None:
        """Show a notice for `timeout` seconds, or as long as is usual."""
        self._show(message, title=title, severity=severity, timeout=timeout)

    def report(self, message: str, hint: str | None = None, *, harmless: bool = False) -> None:
        """Say what went wrong, for a while.

        Args:
            harmless: nothing is broken: what was asked for cannot be, or is not there.
        """
        text = message + (f"\nhint: {hint}" if hint else "")
        if harmless:
            self._show(text, severity="warning", timeout=8)
        else:
            self._show(text, title="Error", severity="error", timeout=10)

    @contextmanager
    def reporting(self, *, quietly: bool = False) -> Iterator[None]:
        """Report an error that ends the block; with `quietly`, pass over it."""
        try:
            yield
        except EdgeLMError as error:
            if not quietly:
                self.report(error.message, error.hint, harmless=isinstance(error, _HARMLESS))

    def complain(self, text: str) -> None:
        """Say what fails again and again, and not every time."""
        if time.monotonic() - self._complained_at > _COMPLAIN_S:
            self._complained_at = time.monotonic()
            self._show(text, severity="error")

    def is_shown(self, message: str, title: str, severity: str, timeout: float) -> bool:
        """Tell whether the same notice stands there already; if not, note it as standing there for `timeout` seconds."""
        now, notice = time.monotonic(), (message, title, severity)
        if now < self._shown_until.get(notice, 0.0):
            return True
        self._shown_until[notice] = now + timeout
        return False
