"""The servers of this machine that run, in words for the status line. Asks them over HTTP, so never on the app's thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgelm.launch.records import RunningServer, running_servers
from edgelm.units import count

if TYPE_CHECKING:
    from edgelm.launch.asking import ServerState

Told = tuple[RunningServer, "ServerState | None"]
"""A server, and how it says it is; None where it does not answer."""


def look_for_servers() -> str:
    """Return what runs, in words; "" where nothing does. May wait for a server that does not answer."""
    servers = running_servers()
    if not servers:
        return ""
    from edgelm.launch.asking import state_of  # brings in HTTP, which most never need

    return in_words([(server, state_of(server)) for server in servers])


def in_words(told: Sequence[Told]) -> str:
    """Say which servers run and how many replies are under way."""
    if len(told) == 1:
        server, state = told[0]
        return f"server on {server.port}{_doing(state)}"
    replies = sum(state.replies for _, state in told if state is not None)
    return f"{count(len(told), 'server')}{_replies(replies)}"


def _doing(state: ServerState | None) -> str:
    if state is None:
        return ": no answer"
    return _replies(state.replies) if state.status == "ok" else f": {state.status}"


def _replies(number: int) -> str:
    return f": {count(number, 'reply', 'replies')}" if number else ""
