"""What the engine's thread tells the interface: frozen values, nothing of MLX."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgelm.runtime.events import ChatEvent


@dataclass(frozen=True, slots=True)
class Library:
    """The models that are installed and can be used."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Loading:
    """A model is being loaded."""

    name: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model is ready."""

    name: str
    context_length: int | None
    bits_per_weight: float | None = None
    size_bytes: int | None = None
    adapter: str | None = None
    directory: str = ""
    is_greedy: bool = True
    """Whether it takes the likeliest token where nothing else is said."""
    is_back: bool = False
    """Whether it is the one that was there before another was asked for, in vain."""


@dataclass(frozen=True, slots=True)
class AnswerEvent:
    """One event of the answer to `job`."""

    job: int
    event: ChatEvent


@dataclass(frozen=True, slots=True)
class AnswerEnded:
    """`job` is over, however it ended."""

    job: int


@dataclass(frozen=True, slots=True)
class Failed:
    """What was asked for could not be done; `job` is None where it was not a question."""

    message: str
    hint: str | None
    job: int | None = None


@dataclass(frozen=True, slots=True)
class FitKnown:
    """Whether a model fits on this machine; `verdict` is empty where that could not be told, and `detail` says why."""

    name: str
    verdict: str
    detail: str


ClientEvent = Library | Loading | Loaded | AnswerEvent | AnswerEnded | Failed | FitKnown
