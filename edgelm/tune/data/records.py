"""What a row says, whatever format it was written in: a chat, a completion, a text, a preference, a judgement.

Messages are plain dictionaries with a `role`, a `content` of text, and whatever else the template may use. Knows
nothing about tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgelm.tune.data.rows import Kind, RowOrigin

Messages = tuple[Mapping[str, Any], ...]
Tools = tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class ChatRecord:
    """A conversation; every answer in it is to be imitated, but those with a `weight` of 0."""

    messages: Messages
    tools: Tools
    origin: RowOrigin
    kind: Kind = "sft"

    @property
    def prompt_key(self) -> str:
        """Equal for rows that ask the same: what comes before the first answer."""
        first = next((i for i, m in enumerate(self.messages) if m["role"] == "assistant"), None)
        return _key(self.messages[:first])

    @property
    def content_key(self) -> str:
        """Equal for rows that say the same."""
        return _key(self.messages, self.tools)


@dataclass(frozen=True, slots=True)
class CompletionRecord:
    """A text to continue, and how."""

    prompt: str
    completion: str
    origin: RowOrigin
    kind: Kind = "sft"

    @property
    def prompt_key(self) -> str:
        """Equal for rows that ask the same."""
        return _key(self.prompt)

    @property
    def content_key(self) -> str:
        """Equal for rows that say the same."""
        return _key(self.prompt, self.completion)


@dataclass(frozen=True, slots=True)
class TextRecord:
    """A text, all of which is to be imitated."""

    text: str
    origin: RowOrigin
    kind: Kind = "sft"

    @property
    def prompt_key(self) -> str:
        """The whole text."""
        return _key(self.text)

    @property
    def content_key(self) -> str:
        """The whole text."""
        return _key(self.text)


@dataclass(frozen=True, slots=True)
class PreferenceRecord:
    """One prompt with a better and a worse answer. The answers are what follows the prompt."""

    prompt: Messages
    chosen: Messages
    rejected: Messages
    tools: Tools
    origin: RowOrigin
    kind: Kind = "preference"
    margin: float = 0.0
    """By how much the chosen answer is to score above the rejected one, for reward models; NaN where that cannot be read."""

    @property
    def prompt_key(self) -> str:
        """Equal for rows that ask the same."""
        return _key(self.prompt)

    @property
    def content_key(self) -> str:
        """Equal for rows that say the same."""
        return _key(self.prompt, self.chosen, self.rejected, self.tools)


@dataclass(frozen=True, slots=True)
class JudgementRecord:
    """One prompt with one answer, and whether that was good."""

    prompt: Messages
    completion: Messages
    is_desirable: bool
    tools: Tools
    origin: RowOrigin
    kind: Kind = "kto"

    @property
    def prompt_key(self) -> str:
        """Equal for rows that ask the same."""
        return _key(self.prompt)

    @property
    def content_key(self) -> str:
        """Equal for rows that say the same."""
        return _key(self.prompt, self.completion, self.is_desirable, self.tools)


Record = ChatRecord | CompletionRecord | TextRecord | PreferenceRecord | JudgementRecord


def _key(*parts: Any) -> str:
    return json.dumps(parts, sort_keys=True, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    """Mappings that are no dict, and what Parquet and Hub datasets hold besides JSON's own types."""
    return dict(value) if isinstance(value, Mapping) else str(value)
