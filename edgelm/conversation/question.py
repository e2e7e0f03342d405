"""A question to a model: the messages before the answer and how it is to be made, as plain values; and what puts it to one."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgelm.conversation.typed_paths import path_of
from edgelm.errors import FormatError

if TYPE_CHECKING:
    from edgelm.conversation.model import ChatModel
    from edgelm.runtime.events import ChatEvent

_LONG_ANSWER = 4096
"""Tokens of an answer; a model that thinks, or recommends more, has its own limit."""


@dataclass(frozen=True, slots=True)
class Question:
    """A conversation that waits for its answer.

    Attributes:
        messages: roles and contents; the last is the user's, or where `continues` the answer to go on with.
        generation: settings of the runtime by name.
        schema: a JSON schema, or the path of one.
    """

    messages: tuple[dict[str, Any], ...]
    system: str = ""
    generation: dict[str, Any] = field(default_factory=dict)
    thinking: bool | None = None
    schema: str = ""
    adapter_scale: float = 1.0
    continues: bool = False

    def settings(self) -> dict[str, Any]:
        """Return the settings of the answer as the runtime takes them.

        Raises:
            FormatError: the schema cannot be read.
        """
        form = {"schema": read_schema(self.schema), "grammar": None} if self.schema.strip() else {}
        return {**self.generation, **form}


def answer_events(model: ChatModel, question: Question, **settings: Any) -> Generator[ChatEvent, None, None]:
    """Yield the events of one answer; `settings` are those that the question leaves open.

    Raises:
        FormatError: the schema cannot be read; and what `Chat.events` raises.
    """
    settings |= question.settings()
    if question.continues:
        return _continued(model, question, settings)
    *earlier, last = question.messages
    chat = model.chat(
        system=question.system or None, messages=earlier, enable_thinking=question.thinking, **settings
    )
    return chat.events(last["content"])


def _continued(
    model: ChatModel, question: Question, settings: dict[str, Any]
) -> Generator[ChatEvent, None, None]:
    """Go on from the template's rendering of what came before and the answer's own tokens, left open."""
    from edgelm.text.prompt import encode_begun

    *earlier, begun = question.messages
    system = [{"role": "system", "content": question.system}] if question.system else []
    ids = encode_begun(
        model.tokenizer,
        [*system, *earlier],
        begun["content"],
        thinking=begun.get("reasoning_content", ""),
        enable_thinking=question.thinking,
    )
    return model.events(ids, **settings)


def read_schema(text: str) -> dict[str, Any]:
    """Read a JSON schema that is given as JSON or as the path of a file.

    Raises:
        FormatError: it is neither.
    """
    text = text.strip()
    try:
        source = text if text.startswith("{") else path_of(text).read_text(encoding="utf-8")
        schema = json.loads(source)
    except (OSError, ValueError) as error:
        raise FormatError(f"the schema cannot be read: {error}") from error
    if not isinstance(schema, dict):
        raise FormatError(f"the schema is {type(schema).__name__}, expected an object")
    return schema


def checked_schema(text: str) -> str:
    """Check a schema and return it as it is kept with a chat: as JSON, or as the whole path of its file; "" for none.

    Raises:
        FormatError: it cannot be read, or is no JSON Schema.
        UnsupportedError: a keyword that cannot be enforced.
    """
    from edgelm.runtime.constraints.grammar import grammar_of

    text = text.strip()
    if not text:
        return ""
    grammar_of(schema=read_schema(text))
    return text if text.startswith("{") else str(path_of(text).absolute())


def longest_answer(model: ChatModel) -> int:
    """Return the tokens of an answer where nobody says: who reads it as it comes can stop it, so it may be long."""
    return max(_LONG_ANSWER, model.defaults.max_tokens or 0)
