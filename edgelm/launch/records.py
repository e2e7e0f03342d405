"""The servers that run on this machine, as each has written it down: a file a server under the data directory.

A file is named by the life of its process (`processes.own_mark`) and its port, so that what a killed server left is known as
such, also after a reboot. Files hold the key of a server, so only their owner reads them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm import paths
from edgelm.errors import FormatError, NotFoundError
from edgelm.json_files import read_json
from edgelm.log import logger
from edgelm.processes import is_marked_alive, own_mark


@dataclass(frozen=True)
class RunningServer:
    """A server that listens.

    Attributes:
        mark: the life of its process.
        address: where it is reached from this machine, as `http://127.0.0.1:8080`.
        key: what askers must send, "" for nothing.
        models: names of what it serves; empty is the whole library.
        began_s: when it began to listen, in seconds since 1970.
    """

    mark: str
    address: str
    key: str
    models: tuple[str, ...]
    began_s: float

    @property
    def pid(self) -> int:
        """The number of its process."""
        return int(self.mark.partition("-")[0])

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.address.rpartition(":")[2])

    @property
    def file(self) -> Path:
        """The file that it is written to."""
        return paths.servers() / f"{self.mark}.{self.port}.json"

    def serves(self, model: str) -> bool:
        """Return whether it was told to serve a model of that name, or whatever the library has."""
        return not self.models or model in self.models


@contextmanager
def recorded(host: str, port: int, key: str | None, models: Sequence[str]) -> Iterator[None]:
    """Write down during the block that this process serves.

    A directory that cannot be written ends no server: nobody finds it then.

    Args:
        host: the address that it listens on.
    """
    address = f"http://{_reached_by(host)}:{port}"
    server = RunningServer(own_mark(), address, key or "", tuple(models), time.time())
    try:
        _write(server)
    except OSError as error:
        logger.warning(
            "%s cannot be written, so no other process finds this server: %s", server.file, error.strerror
        )
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            server.file.unlink(missing_ok=True)


def running_servers() -> list[RunningServer]:
    """Return the servers that run, the one that began last first; what others left is passed over and tidied up."""
    servers = []
    for file in _files():
        mark = file.name.partition(".")[0]
        if not is_marked_alive(mark):
            with contextlib.suppress(OSError):
                shutil.rmtree(file.with_suffix(".users"), ignore_errors=True)
                file.unlink(missing_ok=True)
            continue
        if (server := _read(file)) is not None:
            servers.append(server)
    return sorted(servers, key=lambda server: -server.began_s)


def _files() -> list[Path]:
    try:
        return sorted(paths.servers().glob("[!.]*.json"))
    except OSError:
        return []


def _read(file: Path) -> RunningServer | None:
    """The server that `file` tells of; None where another edgelm or another hand wrote it, or it has just ended."""
    try:
        told = read_json(file)
        server = RunningServer(**{**told, "models": tuple(told["models"])})
        return server if server.file == file else None
    except (NotFoundError, FormatError, TypeError, KeyError, ValueError, AttributeError):
        return None


def _write(server: RunningServer) -> None:
    """Write the record whole, readable for its owner alone from the first byte."""
    folder = paths.servers()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = folder / f".{server.file.name}"
    told: dict[str, Any] = dataclasses.asdict(server)
    with contextlib.suppress(FileNotFoundError):
        partial.unlink()
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(told, file)
        partial.replace(server.file)
    finally:
        partial.unlink(missing_ok=True)


def _reached_by(host: str) -> str:
    """The address of this machine by which a listener on `host` is reached, as a URL has it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host.strip("[]"), host.strip("[]"))
    return f"[{host}]" if ":" in host else host
