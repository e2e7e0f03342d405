"""What a conversation needs of a model and of a chat with it.

`edgelm.api.Model` and its chats have all of it, and so have the stand-ins of the tests: nothing that talks to a model asks what
it can do.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Unpack

if TYPE_CHECKING:
    from edgelm.runtime.chat.tool_loop import Approve, ToolEvent
    from edgelm.runtime.events import ChatEvent
    from edgelm.runtime.generation.options import GenerationOptions
    from edgelm.runtime.generation.recommended import Recommended
    from edgelm.runtime.generation.typed import GenerationSettings, ReplySettings


class ModelChat(Protocol):
    """A conversation in a model's memory: messages of role and content, without the system prompt."""

    system: str | None
    enable_thinking: bool | None

    @property
    def options(self) -> GenerationOptions:
        """How replies are made where nothing else is said."""

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The turns so far."""

    @property
    def can_think(self) -> bool:
        """Whether the model knows a thinking block."""

    def replace(self, messages: Iterable[Mapping[str, Any]]) -> None:
        """Go on from other turns."""

    def events(
        self, text: str | None = None, **settings: Unpack[GenerationSettings]
    ) -> Generator[ChatEvent, None, None]:
        """Say `text` and yield what happens until the reply has ended; closing it stops the model."""

    def tool_events(
        self, text: str, *, approve: Approve | None = None, **settings: Unpack[GenerationSettings]
    ) -> Generator[ToolEvent, None, None]:
        """Say `text`, run the functions that the model calls, and yield what happens."""


class ChatModel(Protocol):
    """A loaded model that can be talked to."""

    @property
    def name(self) -> str:
        """The name that it has in the library."""

    @property
    def directory(self) -> Path | None:
        """The folder of its files; None for a model without any."""

    @property
    def context_length(self) -> int | None:
        """Tokens of prompt and answer together; None is unknown."""

    @property
    def size_bytes(self) -> int | None:
        """The size of its weights in memory."""

    @property
    def defaults(self) -> GenerationOptions:
        """How its answers are made where nothing else is said."""

    @property
    def recommended(self) -> Recommended:
        """What its files recommend for sampling."""

    @property
    def adapters(self) -> Mapping[str, float]:
        """The weight of each adapter on the model by name; 0 is off."""

    @property
    def tokenizer(self) -> Any:
        """mlx-lm's TokenizerWrapper, or what has its methods."""

    def chat(
        self,
        *,
        system: str | None = None,
        messages: Iterable[Mapping[str, Any]] = (),
        enable_thinking: bool | None = None,
        tools: Iterable[Any] | None = None,
        **settings: Unpack[ReplySettings],
    ) -> ModelChat:
        """Begin a conversation, or go on from `messages`."""

    def events(
        self, prompt: str | Sequence[int], **settings: Unpack[GenerationSettings]
    ) -> Generator[ChatEvent, None, None]:
        """Continue `prompt`, text or token ids, and yield what happens."""

    def add_adapter(self, adapter: str, weight: float = 1.0) -> str:
        """Put one more adapter on the model; returns its name."""

    def set_adapter(self, name: str, weight: float) -> None:
        """Let an adapter, named by its name or its directory, act with another weight from the next reply on."""

    def stop(self) -> None:
        """End the reply under way, from any thread."""

    def close(self) -> None:
        """Give the memory back; again is a no-op."""
