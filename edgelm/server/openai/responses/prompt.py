"""A request and what came before it, as the prompt of a reply."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgelm.api import Model
from edgelm.server.exchange.body import refusal
from edgelm.server.exchange.chat import chat_task
from edgelm.server.openai.responses.items import Message, messages_of
from edgelm.server.openai.responses.response_request import ResponseRequest
from edgelm.server.openai.responses.toolbox import Toolbox
from edgelm.server.replies import ReplyTask

Item = dict[str, Any]


@dataclass(frozen=True)
class ItemHistory:
    """The items that a response goes on from.

    Attributes:
        before: those of earlier responses.
        input: those of the request.
    """

    before: Sequence[Item]
    input: Sequence[Item]

    def task(
        self,
        asked: ResponseRequest,
        tools: Toolbox,
        find: Callable[[str], Mapping[str, Any] | None],
        model: Model,
    ) -> ReplyTask:
        """Return the prompt and the settings of the reply; renders and encodes, which takes time.

        Raises:
            RequestError, PromptError, MessageError, UnsupportedError: the request cannot be met by this model.
        """
        items = [*self.before, *self.input]
        messages = messages_of(items, asked.instructions, find, first=len(self.before))
        if not messages:
            raise refusal("input", "is missing, expected text or items")
        options = asked.options(model.defaults, tools)
        effort = asked.reasoning.effort if asked.reasoning is not None else None

        def task_of(kept: list[Message]) -> ReplyTask:
            return chat_task(model, kept, options, tools.definitions, effort=effort)

        task = task_of(messages)
        most = model.context_length
        if asked.truncation != "auto" or most is None or len(task.ids) < most:
            return task
        room = min(options.max_tokens or most, most // 4)
        return _shortened(messages, task_of, most - room)


def _shortened(
    messages: list[Message], task: Callable[[list[Message]], ReplyTask], most_tokens: int
) -> ReplyTask:
    """The task of the latest messages that fit, from a user's on; what the system says stays, and the last turn."""
    system = 1 if messages[0]["role"] == "system" else 0
    turns = [index for index, each in enumerate(messages) if each["role"] == "user" and index > system]
    tasks: dict[int, ReplyTask] = {}

    def fits(turn: int) -> bool:
        tasks[turn] = task([*messages[:system], *messages[turn:]])
        return len(tasks[turn].ids) <= most_tokens

    if not turns:
        return task(messages)
    at = min(bisect.bisect_left(turns, True, key=fits), len(turns) - 1)
    return tasks.get(turns[at]) or task([*messages[:system], *messages[turns[at] :]])


def items_of(given: str | Sequence[Mapping[str, Any]] | None) -> list[Item]:
    """Return the input of a request as items: text is a message of the user."""
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": given}]}]
    return [
        {"type": "message", **item} if "type" not in item and "role" in item else dict(item)
        for item in given or ()
    ]
