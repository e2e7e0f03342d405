"""What a training run reports: frozen dataclasses of plain values, and the same as JSON lines.

The command line draws them, the app reads them from a child process, a run keeps them in `events.jsonl`.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal

EndReason = Literal["done", "time", "patience", "stopped"]


@dataclass(frozen=True, slots=True)
class Started:
    """Everything is loaded; `step` is 0, or where a resumed run goes on."""

    run: str
    model: str
    method: str
    step: int
    total_steps: int | None
    """None until the first steps of a run with a time budget are measured."""
    rows: int
    validation_rows: int
    tokens_per_epoch: int
    targets_per_epoch: int
    trained_parameters: int
    pad_share: float
    """The share of positions that hold no row, 0 to 1."""
    is_packed: bool
    notes: tuple[str, ...] = ()
    """What is not as one might expect, in words."""
    predicted_bytes: int | None = None
    """Memory at its peak, from shapes."""
    predicted_s: float | None = None
    """The time of the whole run without validations, from shapes and this machine's rates; `Stepped.eta_s` corrects it."""


@dataclass(frozen=True, slots=True)
class Referenced:
    """Before the first step: the model as it is was asked how likely so many rows are, which the loss compares with."""

    rows: int
    total_rows: int


@dataclass(frozen=True, slots=True)
class Stepped:
    """One update of the weights."""

    step: int
    """From 1."""
    total_steps: int | None
    epoch: float
    loss: float
    smoothed: float
    learning_rate: float
    grad_norm: float
    targets: int
    """Trained tokens of this step, on all machines."""
    tokens: int
    """Tokens read in this step, without padding, on all machines."""
    tokens_per_s: float
    """The same per second of this step."""
    memory_bytes: int
    """The most so far."""
    elapsed_s: float
    eta_s: float | None
    expected_bytes: int | None = None
    """The most that is expected of this run: predicted, until a batch of its largest shape was measured."""
    is_over_budget: bool = False
    """Whether that is more than is safe on this machine."""
    metrics: dict[str, float] = field(default_factory=dict)
    """What the objective watches beside its loss; empty for supervised training, and then not written."""
    warnings: tuple[str, ...] = ()
    """What is going wrong, in words; not written where nothing is."""


@dataclass(frozen=True, slots=True)
class SampleAnswer:
    """What the model says now to a fixed prompt."""

    prompt: str
    text: str


@dataclass(frozen=True, slots=True)
class Validated:
    """Mean loss of what is held out: of supervised training by token, in nats."""

    step: int
    loss: float
    best_loss: float
    best_step: int
    tokens: int
    elapsed_s: float
    answers: tuple[SampleAnswer, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)
    """As those of a step."""
    warnings: tuple[str, ...] = ()
    """What they give reason to look at."""


@dataclass(frozen=True, slots=True)
class Checkpointed:
    """The run can be resumed from here."""

    step: int
    directory: str


@dataclass(frozen=True, slots=True)
class Paused:
    """Nothing is computed until `Unpaused`."""

    step: int
    reason: str


@dataclass(frozen=True, slots=True)
class Unpaused:
    """It goes on."""

    step: int
    paused_s: float


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The last event of a run that did not fail."""

    reason: EndReason
    step: int
    loss: float | None
    """Smoothed training loss."""
    best_loss: float | None
    adapter: str | None
    """The directory of the result; None if the run was stopped, to be resumed."""
    adapter_step: int | None
    elapsed_s: float
    tokens: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Aborted:
    """The run broke off before its end; the log alone says so. It can be resumed from its last checkpoint."""

    error: str | None
    """What went wrong; None where its user ended it at once."""


TuneEvent = Started | Referenced | Stepped | Validated | Checkpointed | Paused | Unpaused | Aborted | RunEnded

_NAMES = {
    Started: "started", Referenced: "referenced", Stepped: "stepped", Validated: "validated", Checkpointed: "checkpointed",
    Paused: "paused", Unpaused: "unpaused", Aborted: "aborted", RunEnded: "ended",
}  # fmt: skip


def to_json(event: TuneEvent) -> str:
    """Write one line: `{"event": "stepped", …}`. Numbers that are not finite become null."""
    values = {"event": _NAMES[type(event)], **dataclasses.asdict(event)}
    for name in ("metrics", "warnings"):
        if not values.get(name):
            values.pop(name, None)
    return json.dumps({key: _plain(value) for key, value in values.items()}, ensure_ascii=False)


def from_json(line: str) -> TuneEvent:
    """Read an event back from its line.

    Raises:
        ValueError: the line is no event.
    """
    values = json.loads(line)
    kinds = {name: kind for kind, name in _NAMES.items()}
    kind: Any = kinds.get(values.pop("event", None))
    if kind is None:
        raise ValueError(f"{line[:80]!r} is no event of a run")
    if "answers" in values:
        values["answers"] = tuple(SampleAnswer(**answer) for answer in values["answers"])
    for name in ("notes", "warnings"):
        if name in values:
            values[name] = tuple(values[name])
    event: TuneEvent = kind(**values)
    return event


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
