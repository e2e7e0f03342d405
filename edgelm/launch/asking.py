"""What a running server says of itself, asked over HTTP with a short patience. No client library: the app asks often."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from dataclasses import dataclass

from edgelm.launch.records import RunningServer

_PATIENCE_S = 1.0
_COUNTS = ("edgelm_replies_under_way", "edgelm_models_loaded")


@dataclass(frozen=True)
class ServerState:
    """How a server is.

    Attributes:
        status: what `/health` says: ok, stalled, stopping.
        replies: how many are under way and waiting.
        models_loaded: how many models it has in memory.
    """

    status: str
    replies: int
    models_loaded: int


def state_of(server: RunningServer, patience_s: float = _PATIENCE_S) -> ServerState | None:
    """Ask a server how it is; None where nothing answers that speaks as one."""
    try:
        health = json.loads(_get(server, "/health", patience_s))
        counts = _counts(_get(server, "/metrics", patience_s))
        return ServerState(str(health["status"]), *(int(counts.get(name, 0)) for name in _COUNTS))
    except (OSError, http.client.HTTPException, ValueError, TypeError, KeyError):
        return None


def _get(server: RunningServer, path: str, patience_s: float) -> str:
    headers = {"Authorization": f"Bearer {server.key}"} if server.key else {}
    request = urllib.request.Request(server.address + path, headers=headers)
    # A proxy of the environment is for other machines.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=patience_s) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        if error.code != http.client.SERVICE_UNAVAILABLE:  # a server that stalls or stops says so in its body
            raise
        return error.read().decode()


def _counts(metrics: str) -> dict[str, float]:
    """The plain gauges of a text in Prometheus' format."""
    pairs = (line.split() for line in metrics.splitlines() if line[:1] not in ("#", ""))
    return {pair[0]: float(pair[1]) for pair in pairs if len(pair) == 2 and pair[0] in _COUNTS}
