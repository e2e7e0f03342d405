"""What a tool gave, as text for the model: waited for, gathered, and never the name of a Python object.

Text is itself, data is JSON. A coroutine is run to its end, a generator, asynchronous or not, to its last item.
"""

from __future__ import annotations

import asyncio
import enum
import inspect
import json
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import is_dataclass
from typing import Any


def settled(value: Any) -> Any:
    """Return the value itself once it is there: awaited, or gathered into a list."""
    if inspect.isawaitable(value):
        return settled(_run(_awaited(value)))
    if isinstance(value, AsyncIterator):
        return _run(_gathered(value))
    return list(value) if isinstance(value, Iterator) else value


def as_text(value: Any) -> str:
    """Return a function's result as the text that the model reads.

    Raises:
        TypeError: it is neither text nor data, and has no text of its own.
    """
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=_plain)


async def _awaited(value: Any) -> Any:
    return await value


async def _gathered(values: AsyncIterator[Any]) -> list[Any]:
    return [value async for value in values]


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run it here; where a loop runs already, as in a notebook, on a thread that waits for it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1, thread_name_prefix="edgelm-tool") as threads:
        return threads.submit(asyncio.run, work).result()


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return vars(value)
    if isinstance(value, enum.Enum):
        return value.value
    if hasattr(value, "model_dump"):  # Pydantic
        return value.model_dump(mode="json")
    if hasattr(value, "tolist"):  # arrays and scalars of NumPy and MLX
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset | tuple | Iterator):
        return list(value)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if str(value) == object.__repr__(value):
        raise TypeError(f"it gave a {type(value).__name__}, which is neither text nor data")
    return str(value)
