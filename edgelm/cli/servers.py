"""Servers in the background, from the command line: `edgelm serve --background`, `--status` and `--stop`."""

from __future__ import annotations

import argparse
import dataclasses
import os
import time

from edgelm.cli.parsing.loading_flags import loading_arguments
from edgelm.cli.show.output import console, say
from edgelm.errors import NotFoundError
from edgelm.launch import background
from edgelm.launch.asking import state_of
from edgelm.launch.records import RunningServer, running_servers
from edgelm.units import format_seconds

_KEY_VARIABLE = "EDGELM_API_KEY"


def start_server(arguments: argparse.Namespace) -> None:
    """Start the server that a command line asks for, and return once it serves.

    Raises:
        UnsupportedError, OptionError: as in the foreground.
        EngineError: it ended before it served.
    """
    from edgelm.server.extra import require_extra
    from edgelm.server.settings import ServerSettings

    require_extra()
    words = [*arguments.models, *loading_arguments(arguments)]
    for item in dataclasses.fields(ServerSettings):
        value = getattr(arguments, item.name, None)
        if value is not None and item.name != "api_key":
            words += ["--" + item.name.replace("_", "-"), str(value)]
    for flag, values in (
        ("--origin", arguments.origin),
        ("--allow-host", arguments.allow_host),
        ("--pin", arguments.pin),
    ):
        words += [word for value in values for word in (flag, value)]
    # Every process of this machine sees the words of a command line.
    secret = {} if arguments.api_key is None else {_KEY_VARIABLE: arguments.api_key}
    server = background.start(words, {**os.environ, **secret})
    say(
        f"serving at {server.address}/v1 in the background (process {server.pid}); edgelm serve --stop ends it"
    )


def print_servers() -> None:
    """Print a line for each server that runs: its address, what it serves, what it does."""
    from rich.table import Table

    servers = running_servers()
    if not servers:
        say("no server runs")
        return
    table = Table(
        "address", "models", "state", "replies", "loaded", "since", "process", box=None, pad_edge=False
    )
    for server in servers:
        state = state_of(server)
        told = (
            (state.status, str(state.replies), str(state.models_loaded)) if state else ("no answer", "", "")
        )
        since = format_seconds(time.time() - server.began_s)
        table.add_row(
            server.address, ", ".join(server.models) or "the library", *told, since, str(server.pid)
        )
    console().print(table)


def stop_servers(port: int | None) -> None:
    """End the servers that run, or the one that listens on `port`, and wait until they have.

    Raises:
        NotFoundError: there is none.
    """
    servers = [server for server in running_servers() if port in (None, server.port)]
    if not servers:
        where = "" if port is None else f" on port {port}"
        raise NotFoundError(f"no server runs{where}", hint=_others(port))
    for server in servers:
        background.stop(server)
        say(f"the server at {server.address} has ended")


def _others(port: int | None) -> str | None:
    others: list[RunningServer] = [] if port is None else running_servers()
    return f"there is one on port {', '.join(str(server.port) for server in others)}" if others else None
