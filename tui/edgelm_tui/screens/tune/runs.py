"""Training runs as their directories tell of them: what was asked for, what happened, who trains.

    runs/NAME/config.json     what was asked for
    runs/NAME/events.jsonl    one event a line: started, stepped, validated, checkpointed, paused, unpaused, ended
    runs/NAME/pid             locked by the process that trains, holds its number
    runs/NAME/control         one word for it: pause, resume, checkpoint, stop

A run that was begun in a terminal is shown like one that was begun here. The log is read on from where the last call
stopped. Imports nothing of the training code, so that a broken run is only a line in a list.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgelm import paths
from edgelm.atomic import atomic_write
from edgelm.machine.lock import holder
from edgelm.units import count
from edgelm_tui.screens.tune.events import read_event

Status = Literal["running", "paused", "stopped", "finished", "interrupted"]
Order = Literal["pause", "resume", "checkpoint", "stop"]
Points = list[tuple[float, float]]
CURVES = ("loss", "smoothed", "validation", "learning_rate")
_KEPT_LINES = 500


@dataclass
class RunLog:
    """One run, as far as its log was read."""

    directory: Path
    config: dict[str, Any] = field(default_factory=dict)
    started: dict[str, Any] = field(default_factory=dict)
    step: dict[str, Any] = field(default_factory=dict)
    """The last `stepped`."""
    validated: dict[str, Any] = field(default_factory=dict)
    ended: dict[str, Any] = field(default_factory=dict)
    is_paused: bool = False
    curves: dict[str, Points] = field(default_factory=lambda: {name: [] for name in CURVES})
    answers: list[tuple[int, str, str]] = field(default_factory=list)
    """Step, prompt, answer."""
    lines: list[str] = field(default_factory=list)
    """The log in words."""
    _offset: int = 0

    @property
    def name(self) -> str:
        """Of the directory."""
        return self.directory.name

    @property
    def base(self) -> str:
        """The directory of what is trained, or its name; empty if the run does not say."""
        request = self.config.get("request")
        said = request.get("model") if isinstance(request, dict) else None
        return str(said or self.started.get("model") or "")

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
        said = self.step.get("total_steps") or self.started.get("total_steps")
        return said if isinstance(said, int) else None

    @property
    def left_s(self) -> float | None:
        """Seconds until the end: as measured, and before the first step as forecast."""
        said = self.step.get("eta_s") if self.step else self.started.get("predicted_s")
        return float(said) if isinstance(said, int | float) else None

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
        wanted = self.directory / "adapters" / f"step-{best:08d}" if isinstance(best, int) else None
        found = wanted if wanted in kept else kept[-1] if kept else None
        return str(found) if found else None

    def status(self) -> Status:
        """What the run is doing; `interrupted` is one whose process is gone before its end."""
        if self.ended:
            return "stopped" if self.ended.get("reason") == "stopped" else "finished"
        if not self.is_alive():
            return "interrupted"
        return "paused" if self.is_paused else "running"

    def is_alive(self) -> bool:
        """Whether a process trains it."""
        return holder(self.directory / "pid") is not None

    def order(self, order: Order) -> None:
        """Tell the process that trains.

        Raises:
            OutputError: it cannot be written.
        """
        atomic_write(self.directory / "control", order)

    def read_on(self) -> bool:
        """Take in what the log says since the last call; whether there was anything."""
        try:
            with (self.directory / "events.jsonl").open("rb") as log:
                if log.seek(0, os.SEEK_END) < self._offset:
                    self._offset = 0
                log.seek(self._offset)
                data = log.read()
        except OSError:
            return False
        whole, found, _ = data.rpartition(b"\n")
        self._offset += len(whole) + len(found)
        for line in whole.splitlines():
            self._take(line)
        return bool(whole)

    def _take(self, line: bytes) -> None:
        event = read_event(line)
        if event is None:
            return
        match event.get("event"):
            case "started":
                self._start(event)
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
            case "ended":
                self.ended = event
                self._say(event, f"ended: {event.get('reason')}")

    def _start(self, event: dict[str, Any]) -> None:
        self.started, self.ended, self.is_paused = event, {}, False
        self.step = {} if not event.get("step") else self.step
        at = event.get("step") or 0
        for name in CURVES:  # a run that was killed may have gone beyond its checkpoint
            self.curves[name] = [point for point in self.curves[name] if point[0] <= at]
        facts = f"{count(int(event.get('rows') or 0), 'row')}, {event.get('validation_rows')} held out, {event.get('method')}"
        self._say(event, f"started: {facts}")
        for note in event.get("notes", ()):
            self._say(event, str(note))

    def _stepped(self, event: dict[str, Any]) -> None:
        self.step = event
        for name in ("loss", "smoothed", "learning_rate"):
            if name in event and math.isfinite(event[name]):
                self.curves[name].append((float(event.get("step") or 0), float(event[name])))

    def _validated(self, event: dict[str, Any]) -> None:
        self.validated = event
        step = int(event.get("step") or 0)
        if "loss" in event:
            if math.isfinite(event["loss"]):
                self.curves["validation"].append((float(step), float(event["loss"])))
            best = " (best so far)" if event.get("best_step") == step else ""
            self._say(event, f"validation loss {event['loss']:.4f}{best}")
        self.answers += [
            (step, str(one.get("prompt")), str(one.get("text"))) for one in event.get("answers") or ()
        ]

    def _say(self, event: dict[str, Any], text: str) -> None:
        self.lines.append(f"{event.get('step') or 0:>7}  {text}")
        del self.lines[:-_KEPT_LINES]


class RunShelf:
    """All runs of this user."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self.logs: dict[str, RunLog] = {}

    @property
    def folder(self) -> Path:
        """Where they are."""
        return self._folder or paths.runs()

    def trained_by(self, pid: int) -> RunLog | None:
        """The run that a process trains, once it does."""
        for lock in self.folder.glob("*/pid"):
            if holder(lock) == pid:
                return RunLog(lock.parent, _read_json(lock.parent / "config.json"))
        return None

    def look(self) -> list[RunLog]:
        """Every run, the newest first, each read on; may take a while the first time."""
        found = {}
        for config in self.folder.glob("*/config.json") if self.folder.is_dir() else ():
            directory = config.parent
            if directory.name.startswith("."):
                continue
            log = self.logs.get(directory.name) or RunLog(directory, _read_json(config))
            log.read_on()
            found[directory.name] = log
        self.logs = found
        return sorted(found.values(), key=lambda log: _age(log.directory), reverse=True)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _age(directory: Path) -> float:
    try:
        return (directory / "config.json").stat().st_mtime
    except OSError:
        return 0.0


def _read_json(file: Path) -> dict[str, Any]:
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}
