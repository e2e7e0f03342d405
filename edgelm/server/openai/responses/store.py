"""Finished responses in memory, by their ids: what `previous_response_id` goes on from. The oldest make room for new ones."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgelm.server.http.errors import RequestError

Item = dict[str, Any]

MOST_RESPONSES = 1024
MOST_BYTES = 64 << 20
"""The size as JSON; each response counts with all that came before it, though they share that."""


@dataclass(frozen=True)
class StoredResponse:
    """A response that has ended."""

    response: dict[str, Any]
    before: Sequence[Item]
    """The items of the responses before it."""
    input: Sequence[Item]
    """The items that it was asked with."""

    @property
    def items(self) -> list[Item]:
        """The conversation up to its end."""
        return [*self.before, *self.input, *self.response["output"]]

    @property
    def size_bytes(self) -> int:
        """What it takes, as JSON."""
        return len(json.dumps([self.items, self.response]))


class ResponseStore:
    """Keeps responses until there is no room, or they are deleted.

    Args:
        most: so many at once.
        most_bytes: so much at once.
    """

    def __init__(self, most: int = MOST_RESPONSES, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._kept: OrderedDict[str, tuple[StoredResponse, int]] = OrderedDict()
        self._bytes = 0

    def add(self, stored: StoredResponse) -> None:
        """Keep a response."""
        size = stored.size_bytes
        self._kept[stored.response["id"]] = stored, size
        self._bytes += size
        while self._kept and (len(self._kept) > self._most or self._bytes > self._most_bytes):
            _, (_, gone) = self._kept.popitem(last=False)
            self._bytes -= gone

    def get(self, name: str, param: str | None = None) -> StoredResponse:
        """Return a response.

        Raises:
            RequestError: 404, there is none of this id, or no longer.
        """
        if name not in self._kept:
            code = "previous_response_not_found" if param == "previous_response_id" else "response_not_found"
            raise RequestError(404, f"there is no response {name!r} here", param=param, code=code)
        self._kept.move_to_end(name)
        return self._kept[name][0]

    def item(self, name: str) -> Item | None:
        """Return an item of any response, by its id."""
        for stored, _ in reversed(self._kept.values()):
            for item in reversed(stored.items[len(stored.before) :]):
                if item.get("id") == name:
                    return item
        return None

    def delete(self, name: str) -> None:
        """Forget a response; those that go on from it have what they need.

        Raises:
            RequestError: 404, there is none of this id, or no longer.
        """
        self.get(name)
        self._bytes -= self._kept.pop(name)[1]
