"""The events of several replies as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from edgelm.runtime.events import ChatEvent
from edgelm.server.replies import Reply


async def merged(replies: Sequence[Reply]) -> AsyncGenerator[tuple[int, ChatEvent], None]:
    """Yield the events of several replies as they come, each with the number of its reply."""
    if len(replies) == 1:
        async with aclosing(replies[0].events()) as events:
            async for each in events:
                yield 0, each
        return
    came: asyncio.Queue[tuple[int, ChatEvent | BaseException | None]] = asyncio.Queue()

    async def pump(index: int, reply: Reply) -> None:
        try:
            async with aclosing(reply.events()) as events:
                async for each in events:
                    came.put_nowait((index, each))
        except Exception as error:  # noqa: BLE001 - raised by whoever reads the queue
            came.put_nowait((index, error))
        else:
            came.put_nowait((index, None))

    tasks = [asyncio.create_task(pump(index, reply)) for index, reply in enumerate(replies)]
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
