"""The events of several replies as they come."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from edgelm.runtime.events import ChatEvent
from edgelm.server.replies import Reply

_MOST_READ_AHEAD = 64
"""Events that are taken before they are asked for; the rest waits where it is counted (`replies.MOST_UNREAD`)."""


async def merged(replies: Sequence[Reply]) -> AsyncGenerator[tuple[int, ChatEvent], None]:
    """Yield the events of several replies as they come, each with the number of its reply.

    Those of one prompt follow each other in the numbers.
    """
    if len(replies) == 1:
        async with aclosing(replies[0].numbered()) as events:
            async for numbered in events:
                yield numbered
        return
    came: asyncio.Queue[tuple[int, ChatEvent | BaseException | None]] = asyncio.Queue(_MOST_READ_AHEAD)

    async def pump(first: int, reply: Reply) -> None:
        try:
            async with aclosing(reply.numbered()) as events:
                async for number, each in events:
                    await came.put((first + number, each))
        except Exception as error:  # noqa: BLE001 - raised by whoever reads the queue
            await came.put((first, error))
        else:
            await came.put((first, None))

    firsts = itertools.accumulate((reply.count for reply in replies[:-1]), initial=0)
    tasks = [asyncio.create_task(pump(first, reply)) for first, reply in zip(firsts, replies, strict=True)]
    try:
        under_way = len(tasks)
        while under_way:
            index, item = await came.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                under_way -= 1
            else:
                yield index, item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
