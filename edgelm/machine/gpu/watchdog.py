"""macOS's GPU watchdog: it ends work that keeps the GPU from the display, and MLX raises what it said (mlx #3267).

Knows texts alone; Metal's error codes are those of `IOGPUCommandBufferCallbackError`, as MLX prints them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgelm.errors import EngineError

_TEXTS = (
    "impacting interactivity",
    "callbackerrorimpactinginteractivity",
    "callbackerrortimeout",
    "caused gpu timeout",
    "callbackerrorhang",
    "caused gpu hang",
    "callbackerrorsubmissionsignored",
    "for causing prior/excessive gpu errors",
    "innocent victim",
    "callbackerrorinnocentvictim",
)

HINT = (
    "macOS ends GPU work that holds up the display: let the display sleep (the job goes on), compute less at once"
    " ({smaller}), or set AGX_RELAX_CDM_CTXSTORE_TIMEOUT=1"
)


def is_watchdog(text: str) -> bool:
    """Return whether `text`, an error's or the end of a log, says that macOS ended work on the GPU for the time it took."""
    plain = text.lower()
    return any(known in plain for known in _TEXTS)


def hint(smaller: str = "a smaller --batch-tokens") -> str:
    """Return what to do about it; `smaller` names the setting by which a job computes less at once."""
    return HINT.format(smaller=smaller)


def watchdog_error(
    error: BaseException | str, job: str, smaller: str = "a smaller --batch-tokens"
) -> EngineError | None:
    """Return the error to raise instead of `error` where the watchdog is behind it, else None.

    Args:
        error: what MLX raised, or what a process that died printed.
        job: what was ended: "training", "the conversion".
        smaller: the setting by which it computes less at once.
    """
    if not is_watchdog(str(error)):
        return None
    return EngineError(f"the GPU's watchdog ended {job}: {_line(str(error))}", hint=hint(smaller))


@contextmanager
def watchdog_errors(job: str, smaller: str) -> Iterator[None]:
    """Raise what `watchdog_error` makes of MLX's errors in the block; others pass."""
    try:
        yield
    except RuntimeError as error:
        stopped = watchdog_error(error, job, smaller)
        if stopped is None:
            raise
        raise stopped from error


def _line(text: str) -> str:
    """The line of an error that names the watchdog."""
    return next((line.strip() for line in text.splitlines() if is_watchdog(line)), text.strip())
