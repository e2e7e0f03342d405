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
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgelm import paths
from edgelm.atomic import atomic_directory, disk_errors
from edgelm.errors import NotFoundError, OutputError
from edgelm.json_files import read_json
from edgelm.machine.lock import ProcessLock, holder
from edgelm.runs.control import CONTROL_FILE
from edgelm.runs.events import TuneEvent, from_json, to_json
from edgelm.units import count

CONFIG_FILE = "config.json"
EVENTS_FILE = "events.jsonl"
LOCK_FILE = "pid"


@dataclass(frozen=True)
class RunFolder:
    """The directory of one run."""

    path: Path

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.path.name

    @property
    def checkpoints(self) -> Path:
        """The directory of its checkpoints."""
        return self.path / "checkpoints"

    @property
    def control(self) -> Path:
        """The file in which orders are left for it."""
        return self.path / CONTROL_FILE

    def adapter_at(self, step: int) -> Path:
        """Return where the adapter of a step is kept, if it was the best or the last."""
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
        if not (self.path / CONFIG_FILE).exists():
            raise NotFoundError(f"{self.path} is no run", hint="edgelm runs lists them")
        return dict(read_json(self.path / CONFIG_FILE))

    def append(self, event: TuneEvent) -> None:
        """Add an event to the log.

        Raises:
            OutputError: the disk refuses.
        """
        with disk_errors(self.path), (self.path / EVENTS_FILE).open("a+b") as file:
            line = to_json(event).encode() + b"\n"
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                line = line if file.read(1) == b"\n" else b"\n" + line  # a full disk cut the last line
            file.write(line)

    def events(self) -> Iterator[TuneEvent]:
        """Read everything reported so far; a line that a kill cut short is left out."""
        log = self.path / EVENTS_FILE
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
        """Note that this process trains it no more."""
        lock = _held.pop(self._lock_file, None)
        if lock is not None:
            lock.release()

    def owner(self) -> int | None:
        """Return the number of the living process that trains it, None if there is none."""
        return holder(self._lock_file)

    @property
    def _lock_file(self) -> Path:
        return self.path / LOCK_FILE


_held: dict[Path, ProcessLock] = {}


def create_run(model: str, method: str, config: dict[str, Any], name: str | None = None) -> RunFolder:
    """Make a directory under `paths.runs()`, named after the time, the model and the method unless it has a name.

    Raises:
        OutputError: there is one of that name, or the disk refuses.
    """
    created = datetime.now(UTC)
    stamp = created.astimezone().strftime("%Y%m%d-%H%M%S")
    chosen = name or _free(f"{stamp}-{re.sub(r'[^a-z0-9.]+', '-', model.lower()).strip('-')}-{method}")
    target = paths.runs() / chosen
    with atomic_directory(target) as directory, disk_errors(directory):
        written = {**config, "created": created.isoformat()}
        (directory / CONFIG_FILE).write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
        (directory / "checkpoints").mkdir()
    return RunFolder(target)


def find_run(text: str | None) -> RunFolder:
    """Find the run that `text` names (its name, or a part that only it has), or the newest.

    Raises:
        NotFoundError: none, or several.
    """
    folder = paths.runs()
    names = sorted(file.parent.name for file in folder.glob(f"[!.]*/{CONFIG_FILE}"))
    if not names:
        none = "" if text is None else f"no run is named {text!r}: "
        raise NotFoundError(
            f"{none}there are no runs in {folder}", hint="edgelm tune MODEL --data FILE begins one"
        )
    if text is None:
        return RunFolder(folder / max(names, key=lambda name: (folder / name).stat().st_mtime))
    matching = [name for name in names if name == text] or [name for name in names if text in name]
    if len(matching) != 1:
        what = f"{count(len(matching), 'run')} are" if matching else "no run is"
        raise NotFoundError(f"{what} named {text!r}", hint="edgelm runs lists them")
    return RunFolder(folder / matching[0])


def delete_run(folder: RunFolder) -> int:
    """Remove a run and everything in it, and return the bytes it took.

    Raises:
        OutputError: it is being trained, or the disk refuses.
    """
    folder.lock()
    try:
        size = sum(path.stat().st_size for path in folder.path.rglob("*") if path.is_file())
        with disk_errors(folder.path):
            shutil.rmtree(folder.path)
    finally:
        folder.unlock()
    return size


def remove_directory(directory: Path) -> None:
    """Remove a directory with everything in it, if it is there."""
    shutil.rmtree(directory, ignore_errors=True)


def _free(name: str) -> str:
    taken = {path.name for path in paths.runs().glob("*")}
    return next(
        candidate for n in range(1, 10_000) if (candidate := name if n == 1 else f"{name}-{n}") not in taken
    )
