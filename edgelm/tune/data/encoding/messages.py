"""The messages of a training row: those that a chat takes, with ShareGPT's keys and a `weight` of each answer."""

from __future__ import annotations

from typing import Any

from edgelm.messages import reader
from edgelm.messages.values import MessageError, describe
from edgelm.tune.data.problems import Sort

_SHARE_GPT = ("from", "value")


class RowError(MessageError):
    """One field of one row is not what it should be; turned into a Problem by whoever knows the row."""

    def __init__(self, field: str, reason: str, sort: Sort = "field") -> None:
        super().__init__(field, reason)
        self.sort: Sort = sort

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.field, self.reason, self.sort))


def read_messages(value: Any, field: str) -> tuple[dict[str, Any], ...]:
    """Read the messages in `value`, which stood under `field`.

    Raises:
        MessageError: naming the field inside.
    """
    messages = reader.read_messages(value, field, or_keys=_SHARE_GPT)
    for index, message in enumerate(messages):
        weight = message.get("weight")
        if weight is not None and weight not in (0, 1):
            raise RowError(f"{field}[{index}].weight", f"{describe(weight)}, expected 0 (not trained) or 1")
    return tuple(messages)
