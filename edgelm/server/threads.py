"""Long work in a thread that keeps neither the event loop nor the end of the process waiting."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

T = TypeVar("T")


async def in_own_thread(work: Callable[[], T], too_late: Callable[[T], object]) -> T:
    """Return what `work` gives, done in a daemon thread: a pool's threads are waited for when the process ends.

    Args:
        too_late: called in that thread with what it gave, where nobody waits any more.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    given_up = threading.Event()

    def run() -> None:
        try:
            value = work()
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            _tell(loop, partial(fail, error))
            return
        if given_up.is_set() or not _tell(loop, partial(hand_over, value)):
            too_late(value)

    def fail(error: BaseException) -> None:
        if not future.done():
            future.set_exception(error)

    def hand_over(value: T) -> None:
        if future.done():
            threading.Thread(target=too_late, args=(value,), daemon=True).start()
        else:
            future.set_result(value)

    threading.Thread(target=run, name="edgelm-load", daemon=True).start()
    try:
        return await future
    except asyncio.CancelledError:
        given_up.set()
        raise


def _tell(loop: asyncio.AbstractEventLoop, do: Callable[[], object]) -> bool:
    """Have `do` done in the loop; False where that has ended."""
    try:
        loop.call_soon_threadsafe(do)
    except RuntimeError:
        return False
    return True
