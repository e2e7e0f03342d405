"""uvicorn, with patience that ends and an end that is orderly.

A connection on which no request comes is closed after a while, also where half a line of one has come. Told to stop, the server
goes on listening until replies under way have ended, so that others are told so (503) instead of being refused a connection.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

DRAIN_S = 30.0
"""How long replies that are under way may go on once the server is told to stop."""
_CLOSE_S = 2
"""How long connections may take to close after that."""


class PatientProtocol(H11Protocol):
    """HTTP/1.1 of uvicorn for askers who may stop half-way.

    The head of a request has to come within `head_s` seconds of its first byte. Who has read nothing of an answer for `read_s`
    seconds, though more than fits on the way is there, has gone.
    """

    head_s = 20.0
    read_s = 120.0
    _head_timer: asyncio.TimerHandle | None = None
    _read_timer: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.access_log = False  # it has whole paths, and edgelm's own log has their patterns

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Take in more of a request, and wait for the rest of its head."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self._wait_for_head()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_waiting()
        self._stop_waiting_for_reader()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Hold the answer back, and wait until it is read."""
        super().pause_writing()
        self._stop_waiting_for_reader()
        self._read_timer = self.loop.call_later(self.read_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on with the answer."""
        self._stop_waiting_for_reader()
        super().resume_writing()

    def _stop_waiting_for_reader(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _wait_for_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_s, self._give_up)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        if self.conn.their_state is h11.IDLE:
            self.transport.close()


class DrainingServer(uvicorn.Server):
    """A server that is told to stop by Ctrl-C or SIGTERM, and lets replies end; a second Ctrl-C ends it at once.

    Args:
        begin_to_drain: called when it is told to stop.
        is_drained: whether nothing is under way any more.

    Attributes:
        was_forced: whether it was ended at once.
    """

    def __init__(
        self, app: ASGIApp, begin_to_drain: Callable[[], object], is_drained: Callable[[], bool]
    ) -> None:
        config = uvicorn.Config(
            app,
            http=PatientProtocol,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_CLOSE_S,
            lifespan="on",
        )
        super().__init__(config)
        self._begin_to_drain, self._is_drained = begin_to_drain, is_drained
        self._drains_until: float | None = None
        _keep_faults_out_of_uvicorns_log()

    @property
    def was_forced(self) -> bool:
        """Whether a second Ctrl-C ended it."""
        return self.force_exit

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop. uvicorn would raise the signal again once it has stopped; this end is a good one."""
        if self._drains_until is None:
            self._drains_until = time.monotonic() + DRAIN_S
            self._begin_to_drain()
        elif sig == signal.SIGINT:
            self.should_exit = self.force_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Say whether the loop is to end: called ten times a second."""
        if self._drains_until is not None:
            self.should_exit |= self._is_drained() or time.monotonic() > self._drains_until
        return bool(await super().on_tick(counter))


def _keep_faults_out_of_uvicorns_log() -> None:
    """Have no exception shown by uvicorn: `RequestLog` has written it down, without what was asked."""
    logger = logging.getLogger("uvicorn.error")
    if not any(isinstance(each, _WithoutExceptions) for each in logger.filters):
        logger.addFilter(_WithoutExceptions())


class _WithoutExceptions(logging.Filter):
    def filter(self, record: logging.LogRecord) -> Any:
        # The lifespan of an application that was ended at once has been cancelled, and starlette says so at length.
        return record.exc_info is None and "CancelledError" not in record.getMessage()
