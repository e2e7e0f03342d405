"""Every error that edgelm raises on purpose.

    EdgeLMError                  something the user can act on             exit 1
    ├── OptionError              a setting outside what it may be (2 on the command line: usage)
    ├── NotFoundError            no such path, model name or Hub id
    ├── NetworkError             the Hub cannot be reached, or refuses
    ├── FormatError              a file that is not what it says it is
    │   └── UnsafeError          a file that asks for code to be run
    ├── UnsupportedError         well-formed, but edgelm cannot run or convert it
    ├── OutputError              the result cannot be written (exists, disk full)
    ├── FitError                 it would not fit in this machine's memory
    ├── PromptError              tokens the model cannot take (too many, out of range)
    ├── EngineError              the runtime failed or is closed
    ├── RewardError              a reward cannot judge an answer
    └── Interrupted              the user pressed Ctrl-C                   exit 130

The message carries the value, what was expected and the path; the hint says what to do next.
Third-party errors are wrapped at the door they come in by. They are caught in `edgelm.cli.main`
and in the terminal app, nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence


class EdgeLMError(Exception):
    """Something the user can act on.

    Args:
        message: one sentence, no trailing period: the value, what was expected, the path.
        hint: one sentence on what to do next, printed on its own line.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        # The default would drop the hint when an error crosses a process.
        return (_rebuild, (type(self), self.message, self.hint))


def _rebuild(kind: type[EdgeLMError], message: str, hint: str | None) -> EdgeLMError:
    return kind(message, hint=hint)


class OptionError(EdgeLMError):
    """A setting outside what it may be, or settings that exclude each other.

    Args:
        message: as for `EdgeLMError`, with settings named as Python names them.
        hint: as for `EdgeLMError`.
        settings: those that the message names, so that the command line can call them by their flags.
    """

    def __init__(self, message: str, *, hint: str | None = None, settings: Sequence[str] = ()) -> None:
        super().__init__(message, hint=hint)
        self.settings = tuple(settings)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_option, (type(self), self.message, self.hint, self.settings))


def _rebuild_option(
    kind: type[OptionError], message: str, hint: str | None, settings: Sequence[str]
) -> OptionError:
    return kind(message, hint=hint, settings=settings)


class NotFoundError(EdgeLMError):
    """No such path, model name or Hub id."""


class NetworkError(EdgeLMError):
    """The Hub cannot be reached, or refuses."""


class FormatError(EdgeLMError):
    """A file that is not what it says it is."""


class UnsafeError(FormatError):
    """A file that asks for code to be run."""


class UnsupportedError(EdgeLMError):
    """Well-formed, but edgelm cannot run or convert it."""


class OutputError(EdgeLMError):
    """The result cannot be written."""


class FitError(EdgeLMError):
    """It would not fit in this machine's memory."""


class PromptError(EdgeLMError):
    """Tokens the model cannot take: too many, none, or out of range."""


class EngineError(EdgeLMError):
    """The runtime failed or is closed."""


class RewardError(EdgeLMError):
    """A reward cannot judge an answer: its function raised, hung or gave what is no number."""


class Interrupted(EdgeLMError):  # noqa: N818 - a request of the user's, not a fault
    """The user pressed Ctrl-C, or a job was cancelled."""

    exit_code = 130
