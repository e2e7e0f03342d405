"""How a question becomes events: through the model's chat, or from the tokens of an answer that is to go on.

Runs on the engine's thread.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from edgelm.conversation.typed_paths import path_of
from edgelm.errors import FormatError
from edgelm_tui.engine.events import Question

if TYPE_CHECKING:
    from edgelm.runtime.events import ChatEvent

DEFAULT_MAX_TOKENS = 4096
"""Of an answer in the app; a model that thinks, or recommends more, has its own."""


def answer(model: Any, question: Question) -> Generator[ChatEvent, None, None]:
    """The events of one answer of `edgelm.api.Model`."""
    settings = dict(question.generation or {})
    settings.setdefault("max_tokens", _longest(model))
    if question.schema.strip():
        settings["schema"] = read_schema(question.schema)
    if question.continues:
        return _go_on(model, question, settings)
    *earlier, last = question.messages
    chat = model.chat(
        system=question.system or None, messages=earlier, enable_thinking=question.thinking, **settings
    )
    events: Generator[ChatEvent, None, None] = chat.events(last["content"])
    return events


def _longest(model: Any) -> int:
    """Tokens of an answer where nobody says: the reader sees it come and can stop it, so it may be long."""
    defaults = getattr(model, "defaults", None)
    return max(DEFAULT_MAX_TOKENS, (defaults and defaults.max_tokens) or 0)


def _go_on(model: Any, question: Question, settings: dict[str, Any]) -> Generator[ChatEvent, None, None]:
    """The template's rendering of what came before, and then the answer's own tokens, left open."""
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
    events: Generator[ChatEvent, None, None] = model.events(ids, **settings)
    return events


def read_schema(text: str) -> dict[str, Any]:
    """A JSON schema given as JSON or as the path of a file.

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
    """A schema as it is kept with a chat: as JSON, or as the whole path of its file; "" for none.

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
