"""What the app tells its screens when something has changed; a screen subscribes when it is mounted."""

from __future__ import annotations

from textual.dom import DOMNode
from textual.signal import Signal

from edgelm_tui.engine.events import ClientEvent, FitKnown
from edgelm_tui.jobs.manager import BackgroundJob
from edgelm_tui.services.state import AppState


class Signals:
    """The four signals of the app.

    Args:
        owner: the app; nothing is told before it runs.

    Attributes:
        state: the status line may say something else.
        fits: whether a model fits is known.
        jobs: these jobs have changed.
        engine: the engine has told something.
    """

    def __init__(self, owner: DOMNode) -> None:
        self.state: Signal[AppState] = Signal(owner, "state")
        self.fits: Signal[FitKnown] = Signal(owner, "fit")
        self.jobs: Signal[list[BackgroundJob]] = Signal(owner, "jobs")
        self.engine: Signal[ClientEvent] = Signal(owner, "engine")
