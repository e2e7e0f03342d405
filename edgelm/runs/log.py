"""One training run as its directory tells of it: the one reader of its log, for the app, the command line and Python.

A run that was begun in a terminal is read like one that was begun in the app. The log is read on from where the last call
stopped; a line that is cut or of another version is left out, so that a broken run is only a line in a list.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgelm.errors import FormatError, NotFoundError
from edgelm.json_files import read_json
from edgelm.runs.control import Order, send
from edgelm.runs.event_lines import STEPPED, read_event
from edgelm.runs.folder import CONFIG_FILE, EVENTS_FILE, RunFolder
from edgelm.runs.status import RunSummary, Status
from edgelm.units import count

Points = list[tuple[int, float]]
CURVES = ("loss", "smoothed", "validation", "learning_rate", "grad_norm", "tokens_per_s")
_OF_STEPS = tuple(name for name in CURVES if name != "validation")
_KEPT_LINES = 500


@dataclass
class RunLog:
    """One run, as far as its log was read."""

    directory: Path
    config: dict[str, Any] = field(default_factory=dict)
    """What was asked for; empty where that cannot be read."""
    started: dict[str, Any] = field(default_factory=dict)
    step: dict[str, Any] = field(default_factory=dict)
    """The last `stepped`."""
    referenced: dict[str, Any] = field(default_factory=dict)
    """The last `referenced`, of a run whose loss compares with its base."""
    validated: dict[str, Any] = field(default_factory=dict)
    """The last `validated`."""
    first_loss: float | None = None
    """The validation loss before the first step."""
    aborted: dict[str, Any] = field(default_factory=dict)
    ended: dict[str, Any] = field(default_factory=dict)
    is_paused: bool = False
    curves: dict[str, Points] = field(default_factory=lambda: {name: [] for name in CURVES})
    watched: dict[str, Points] = field(default_factory=dict)
    """What the objective watches beside its loss, step by step, by its name."""
    """(step, value) by the name of the curve, in order; only finite values."""
    answers: list[tuple[int, str, str]] = field(default_factory=list)
    """Step, prompt, answer."""
    lines: list[str] = field(default_factory=list)
    """The log in words."""
    _offset: int = 0

    @classmethod
    def open(cls, directory: Path) -> RunLog:
        """Read the config of the run in `directory`; its log is read by `read_on`."""
        try:
            config = read_json(directory / CONFIG_FILE)
        except (FormatError, NotFoundError):
            config = {}
        return cls(directory, config)

    @property
    def name(self) -> str:
        """The name of the run, which is that of its directory."""
        return self.directory.name

    @property
    def folder(self) -> RunFolder:
        """The run's directory, as those see it who write there."""
        return RunFolder(self.directory)

    @property
    def request(self) -> dict[str, Any]:
        """The model, data and settings that were asked for; empty if the run does not say."""
        request = self.config.get("request")
        return request if isinstance(request, dict) else {}

    @property
    def created(self) -> datetime:
        """The time at which the run was made."""
        try:
            return datetime.fromisoformat(str(self.config.get("created"))).astimezone(UTC)
        except ValueError:  # made by an edgelm that did not write it down
            return datetime.fromtimestamp(self._changed_s(), UTC)

    def _changed_s(self) -> float:
        try:
            return (self.directory / CONFIG_FILE).stat().st_mtime
        except OSError:
            return 0.0

    @property
    def base(self) -> str:
        """The directory of what is trained, or its name; empty if the run does not say."""
        return str(self.request.get("model") or self.started.get("model") or "")

    @property
    def model(self) -> str:
        """The name of what is trained."""
        return Path(self.base).name or "?"

    @property
    def at(self) -> int:
        """The step it has come to."""
        return int(self.step.get("step") or self.started.get("step") or 0)

    @property
    def total_steps(self) -> int | None:
        """All steps, as far as that is known; before the first step, from the beginning's announcement."""
        total = self.step.get("total_steps") or self.started.get("total_steps")
        return total if isinstance(total, int) else None

    @property
    def left_s(self) -> float | None:
        """Seconds until the end: as measured, and before the first step as forecast."""
        return _number(self.step.get("eta_s") if self.step else self.started.get("predicted_s"))

    @property
    def loss(self) -> float | None:
        """The smoothed training loss of the last step: the one that every place shows as the loss."""
        return _number(self.step.get("smoothed"))

    @property
    def validation_loss(self) -> float | None:
        """The loss on the rows held out, as it was last measured."""
        return _number(self.validated.get("loss"))

    @property
    def adapter(self) -> str | None:
        """The directory of the result; of a run under way, of its best so far."""
        if self.ended.get("adapter"):
            return str(self.ended["adapter"])
        kept = sorted((self.directory / "adapters").glob("step-*"))
        best = self.validated.get("best_step")
        wanted = self.folder.adapter_at(best) if isinstance(best, int) else None
        chosen = wanted if wanted in kept else kept[-1] if kept else None
        return str(chosen) if chosen else None

    def status(self) -> Status:
        """Return what the run is doing, or how it ended."""
        if self.ended:
            return "stopped" if self.ended.get("reason") == "stopped" else "finished"
        if self.is_alive():
            return "paused" if self.is_paused else "running"
        if self.aborted:
            return "failed" if self.aborted.get("error") else "stopped"
        return "interrupted"

    def is_alive(self) -> bool:
        """Tell whether a process trains it."""
        return self.folder.owner() is not None

    def order(self, order: Order) -> None:
        """Tell the process that trains.

        Raises:
            OutputError: it cannot be written.
        """
        send(self.directory, order)

    def summary(self) -> RunSummary:
        """Return the run in one row."""
        request, config, ended = self.request, self.config, self.ended
        settings = request.get("settings")
        return RunSummary(
            name=self.name,
            created=self.created.isoformat(timespec="seconds"),
            model=self.model,
            base_sha256=str(config.get("base_sha256") or ""),
            data=str(request.get("data") or ""),
            data_sha256=str(config.get("data_sha256") or ""),
            method=str((settings if isinstance(settings, dict) else {}).get("method") or ""),
            config=request,
            directory=str(self.directory),
            status=self.status(),
            step=self.at,
            total_steps=self.total_steps,
            loss=self.loss,
            best_loss=_number(self.validated.get("best_loss")),
            first_loss=self.first_loss,
            adapter=str(ended["adapter"]) if ended.get("adapter") else None,
            error=str(self.aborted["error"]) if self.aborted.get("error") else None,
        )

    def read_on(self, *, curves: bool = True) -> bool:
        """Take in what the log says since the last call; return whether there was anything.

        Args:
            curves: False leaves out all steps but the last, which is many times as fast.
        """
        try:
            with (self.directory / EVENTS_FILE).open("rb") as log:
                if log.seek(0, os.SEEK_END) < self._offset:
                    self._offset = 0
                log.seek(self._offset)
                data = log.read()
        except OSError:
            return False
        whole, newline, _ = data.rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        lines = whole.splitlines()
        if not curves:
            steps = [at for at, line in enumerate(lines) if line.startswith(STEPPED)]
            left_out = set(steps[:-1])
            lines = [line for at, line in enumerate(lines) if at not in left_out]
        for line in lines:
            self._take(line)
        return bool(whole)

    def _take(self, line: bytes) -> None:
        event = read_event(line)
        if event is None:
            return
        match event.get("event"):
            case "started":
                self._start(event)
            case "referenced":
                self.referenced, self.ended, self.aborted = event, {}, {}
            case "stepped":
                self._stepped(event)
            case "validated":
                self._validated(event)
            case "paused":
                self.is_paused = True
                self._say(event, f"paused: {event.get('reason') or 'asked for'}")
            case "unpaused":
                self.is_paused = False
                self._say(event, "goes on")
            case "checkpointed":
                self._say(event, "checkpoint")
            case "aborted":
                self.aborted = event
                self._say(self.step, f"failed: {event['error']}" if event.get("error") else "broken off")
            case "ended":
                self.ended = event
                self._say(event, f"ended: {event.get('reason')}")

    def _start(self, event: dict[str, Any]) -> None:
        self.started, self.ended, self.aborted, self.is_paused = event, {}, {}, False
        self.step = {} if not event.get("step") else self.step
        at = event.get("step") or 0
        for name in CURVES:  # a run that was killed may have gone beyond its checkpoint
            self.curves[name] = [point for point in self.curves[name] if point[0] <= at]
        self.watched = {
            name: [point for point in points if point[0] <= at] for name, points in self.watched.items()
        }
        facts = f"{count(int(event.get('rows') or 0), 'row')}, {event.get('validation_rows')} held out, {event.get('method')}"
        self._say(event, f"started: {facts}")
        for note in event.get("notes", ()):
            self._say(event, str(note))

    def _stepped(self, event: dict[str, Any]) -> None:
        said_before = bool(self.step.get("warnings"))
        self.step = event
        for warning in event.get("warnings", ()) if not said_before else ():
            self._say(event, str(warning))
        for name in _OF_STEPS:
            self._add_point(name, event, name)
        for name, value in event.get("metrics", {}).items():
            if math.isfinite(value):
                self.watched.setdefault(name, []).append((int(event.get("step") or 0), float(value)))

    def _add_point(self, curve: str, event: dict[str, Any], name: str) -> None:
        value = _number(event.get(name))
        if value is not None and math.isfinite(value):
            self.curves[curve].append((int(event.get("step") or 0), value))

    def _validated(self, event: dict[str, Any]) -> None:
        self.validated = event
        step = int(event.get("step") or 0)
        self._add_point("validation", event, "loss")
        if "loss" in event:
            if step == 0:
                self.first_loss = _number(event["loss"])
            best = " (best so far)" if event.get("best_step") == step else ""
            self._say(event, f"validation loss {event['loss']:.4f}{best}")
        for warning in event.get("warnings", ()):
            self._say(event, str(warning))
        self.answers += [
            (step, str(answer.get("prompt")), str(answer.get("text")))
            for answer in event.get("answers") or ()
        ]

    def _say(self, event: dict[str, Any], text: str) -> None:
        self.lines.append(f"{event.get('step') or 0:>7}  {text}")
        del self.lines[:-_KEPT_LINES]


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
