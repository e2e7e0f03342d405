"""The directory of a run: what was asked for, what happened, and checkpoints to go on from.

config.json     what was asked for; never changed
events.jsonl    everything that was reported, across resumes
pid             locked by the process that trains, holds its number
control         an order to the process that trains (see `edgelm.runs.control`)
checkpoints/    step-00000120/ …
adapters/       the adapter of the lowest validation loss so far, and of the end
loss.svg        drawn at the end
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from edgelm import paths
from edgelm.atomic import atomic_directory, disk_errors
from edgelm.errors import NotFoundError, OutputError
from edgelm.json_files import read_json
from edgelm.machine.lock import ProcessLock, holder
from edgelm.runs.events import TuneEvent, from_json, to_json
from edgelm.units import count


@dataclass(frozen=True)
class RunFolder:
    """One run's directory."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def control(self) -> Path:
        return self.path / "control"

    def adapter_at(self, step: int) -> Path:
        """Where the adapter of a step is kept, if it was the best or the last."""
        return self.path / "adapters" / f"step-{step:08d}"

    def prune_adapters(self, needed: set[int | None]) -> None:
        """Remove adapters of steps that no checkpoint calls its best."""
        kept = {self.adapter_at(step) for step in needed if step is not None}
        for directory in (self.path / "adapters").glob("step-*"):
            if directory not in kept:
                remove_directory(directory)

    @property
    def config(self) -> dict[str, Any]:
        """What was asked for.

        Raises:
            NotFoundError, FormatError: there is no such run, or it is broken.
        """
        if not (self.path / "config.json").exists():
            raise NotFoundError(f"{self.path} is no run", hint="edgelm runs lists them")
        return dict(read_json(self.path / "config.json"))

    def append(self, event: TuneEvent) -> None:
        """Add an event to the log.

        Raises:
            OutputError: the disk refuses.
        """
        with disk_errors(self.path), (self.path / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(to_json(event) + "\n")

    def events(self) -> Iterator[TuneEvent]:
        """Everything reported so far; a line that a kill cut short is left out."""
        log = self.path / "events.jsonl"
        if not log.exists():
            return
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                yield from_json(line)
            except (ValueError, TypeError):
                continue

    def lock(self) -> None:
        """Note that this process trains it, until `unlock` or its end, however that comes.

        Raises:
            OutputError: another one does, or this one in another place, or the disk refuses.
        """
        lock = ProcessLock(self._lock_file)
        with disk_errors(self._lock_file):
            owner = lock.take()
        if owner is not None:
            raise OutputError(
                f"run {self.name} is being trained by process {owner}",
                hint=f"wait for it, or stop it with: edgelm runs stop {self.name}",
            )
        _held[self._lock_file] = lock

    def unlock(self) -> None:
        """This process trains it no more."""
        lock = _held.pop(self._lock_file, None)
        if lock is not None:
            lock.release()

    def owner(self) -> int | None:
        """The living process that trains it, None if there is none."""
        return holder(self._lock_file)

    @property
    def _lock_file(self) -> Path:
        return self.path / LOCK_FILE


LOCK_FILE = "pid"
"""Locked by the process that trains; holds its number."""
_held: dict[Path, ProcessLock] = {}


def create_run(model: str, method: str, config: dict[str, Any], name: str | None = None) -> RunFolder:
    """A new directory under `paths.runs()`, named after the time, the model and the method unless it has a name.

    Raises:
        OutputError: there is one of that name, or the disk refuses.
    """
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    chosen = name or _free(f"{stamp}-{re.sub(r'[^a-z0-9.]+', '-', model.lower()).strip('-')}-{method}")
    target = paths.runs() / chosen
    with atomic_directory(target) as directory, disk_errors(directory):
        (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        (directory / "checkpoints").mkdir()
    return RunFolder(target)


def find_run(text: str | None) -> RunFolder:
    """The run that `text` names (its name, or a unique beginning or end of it), or the newest.

    Raises:
        NotFoundError: none, or several.
    """
    names = sorted(path.name for path in paths.runs().glob("*/config.json") for path in [path.parent])
    if not names:
        raise NotFoundError(
            f"there are no runs in {paths.runs()}", hint="edgelm tune MODEL --data FILE begins one"
        )
    if text is None:
        return RunFolder(paths.runs() / max(names, key=lambda name: (paths.runs() / name).stat().st_mtime))
    found = [name for name in names if name == text] or [name for name in names if text in name]
    if len(found) != 1:
        what = "no run" if not found else f"{count(len(found), 'run')}"
        raise NotFoundError(f"{what} named {text!r}", hint="edgelm runs lists them")
    return RunFolder(paths.runs() / found[0])


def delete_run(folder: RunFolder) -> int:
    """Remove a run and everything in it; returns the bytes it took.

    Raises:
        OutputError: it is being trained.
    """
    folder.lock()
    try:
        size = sum(path.stat().st_size for path in folder.path.rglob("*") if path.is_file())
        shutil.rmtree(folder.path)
    finally:
        folder.unlock()
    return size


def remove_directory(directory: Path) -> None:
    """Whole, if it is there."""
    shutil.rmtree(directory, ignore_errors=True)


def _free(name: str) -> str:
    taken = {path.name for path in paths.runs().glob("*")}
    return next(
        candidate for n in range(1, 10_000) if (candidate := name if n == 1 else f"{name}-{n}") not in taken
    )
