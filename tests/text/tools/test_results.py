"""Whatever kind of callable a tool is, it is run, or refused when it is made; what it gives is text or data."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import enum
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from edgelm.errors import OptionError
from edgelm.text.tools.tool import as_tool


async def fetched(city: str) -> str:
    """The weather, from afar."""
    await asyncio.sleep(0)
    return f"{city}: clear"


async def failing(city: str) -> str:
    """Fails."""
    raise ValueError(city)


def counted(n: int) -> Iterator[int]:
    """Counts."""
    yield from range(n)


async def streamed(n: int) -> AsyncIterator[dict[str, int]]:
    """Counts from afar."""
    for number in range(n):
        yield {"n": number}


def deferred(n: int) -> Any:
    """Gives a coroutine that gives a generator."""

    async def later() -> Iterator[int]:
        return counted(n)

    return later()


def lazy(n: int) -> Any:
    """Gives a map inside of data."""
    return {"squares": (x * x for x in range(n)), "set": {1}}


@dataclass
class Point:
    """A point."""

    x: int
    y: int = 2


class Greeter:
    """Greets."""

    def hello(self, name: str) -> str:
        """Say hello."""
        return f"hello {name}"

    @classmethod
    async def later(cls, name: str) -> str:
        """Say it later."""
        return f"later {name}"

    @staticmethod
    def loud(name: str) -> str:
        """Say it loud."""
        return name.upper()


def added(a: int, b: int = 0) -> int:
    """Adds."""
    return a + b


RUN: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    (fetched, {"city": "Rome"}, "Rome: clear"),
    (counted, {"n": 3}, "[0, 1, 2]"),
    (streamed, {"n": 2}, '[{"n": 0}, {"n": 1}]'),
    (deferred, {"n": 2}, "[0, 1]"),
    (lazy, {"n": 3}, '{"squares": [0, 1, 4], "set": [1]}'),
    (Point, {"x": 1}, '{"x": 1, "y": 2}'),
    (Greeter().hello, {"name": "Ada"}, "hello Ada"),
    (Greeter.later, {"name": "Ada"}, "later Ada"),
    (Greeter.loud, {"name": "Ada"}, "ADA"),
    (functools.partial(added, 1), {"b": 2}, "3"),
    (functools.partial(functools.partial(added), b=4), {"a": 2}, "6"),
    (functools.partial(fetched), {"city": "Oslo"}, "Oslo: clear"),
]


@pytest.mark.parametrize(("function", "arguments", "text"), RUN)
def test_every_kind_of_callable_is_run(
    function: Callable[..., Any], arguments: dict[str, Any], text: str
) -> None:
    output = as_tool(function).call(arguments)
    assert (output.text, output.is_error) == (text, False)


def test_a_partial_is_described_as_what_it_is_of() -> None:
    tool = as_tool(functools.partial(added, 1))
    assert (tool.name, tool.description, list(tool.parameters["properties"])) == ("added", "Adds.", ["b"])


def test_inside_a_running_loop_too() -> None:
    async def notebook() -> str:
        return as_tool(fetched).call({"city": "Rome"}).text

    assert asyncio.run(notebook()) == "Rome: clear"


def test_what_a_coroutine_raises_the_model_reads() -> None:
    output = as_tool(failing).call({"city": "Rome"})
    assert (output.text, output.is_error) == ("error: ValueError: Rome", True)

    async def notebook() -> str:
        return as_tool(failing).call({"city": "Rome"}).text

    assert asyncio.run(notebook()) == "error: ValueError: Rome"


@pytest.mark.parametrize(
    "function", [lambda x: x, print, max, len, functools.partial(max, 1), Greeter.hello, Greeter()]
)
def test_what_cannot_be_described_is_refused_when_it_is_made(function: Callable[..., Any]) -> None:
    with pytest.raises(OptionError):
        as_tool(function)


class Colour(enum.Enum):
    """A colour."""

    RED = "red"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (Colour.RED, '"red"'),
        ([datetime.date(2026, 1, 2), decimal.Decimal("1.5")], '["2026-01-02", "1.5"]'),
        (b"abc", '"abc"'),
    ],
)
def test_values_are_data(value: Any, text: str) -> None:
    def tool() -> Any:
        """Gives it."""
        return value

    assert as_tool(tool).call({}).text == text


def test_an_object_without_words_is_an_error() -> None:
    def tool() -> Any:
        """Gives an object."""
        return object()

    output = as_tool(tool).call({})
    assert output.is_error
    assert "neither text nor data" in output.text
