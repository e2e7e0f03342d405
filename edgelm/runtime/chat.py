"""A conversation: messages in, text out.

The model's own chat template is rendered in full at every turn; the engine reuses what it has computed of
the same tokens. Rendering happens here, in the caller's thread, and everything of MLX behind `run`. A turn
enters the history only when its reply has ended, so that after an error the chat is as it was before.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any

from edgelm.errors import EngineError, OptionError
from edgelm.runtime.events import ChatEvent, Text
from edgelm.runtime.generation import Collector, Completion, GenerationOptions
from edgelm.text.prompt import encode_chat, encode_text

Run = Callable[[Sequence[int], GenerationOptions], Generator[ChatEvent, None, None]]
"""Generates from a prompt's ids: `generate_text` on the engine thread."""


class Chat:
    """One conversation with one model.

    Args:
        run: generates from token ids.
        tokenizer: mlx-lm's TokenizerWrapper.
        system: the system prompt; may be changed between turns.
        options: how replies are made, unless a turn says otherwise.
        enable_thinking: passed to the template; None is the model's default.
        tools: JSON schemas of functions the model may call.
        messages: earlier turns to go on from.
        plain: for base models: join the messages as plain text instead of using a chat template.
    """

    def __init__(
        self,
        run: Run,
        tokenizer: Any,
        *,
        system: str | None = None,
        options: GenerationOptions | None = None,
        enable_thinking: bool | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        messages: Iterable[Mapping[str, Any]] = (),
        plain: bool = False,
    ) -> None:
        self.system = system
        self.options = options or GenerationOptions()
        self.enable_thinking = enable_thinking
        self._run = run
        self._tokenizer = tokenizer
        self._tools = tools
        self._plain = plain
        self._messages = [_check_message(message) for message in messages]
        self._is_busy = False

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The turns so far, without the system prompt: copies of `{"role", "content"}`.

        A reply's thinking is under `"reasoning_content"`, its calls under `"tool_calls"`, and one that was
        stopped by its reader has `"partial": True`.
        """
        return [dict(message) for message in self._messages]

    def clear(self) -> None:
        """Forget the turns; the system prompt stays."""
        self._messages.clear()

    def send(self, text: str, **settings: Any) -> Completion:
        """Say `text` and wait for the reply. For settings and errors see `events`."""
        collector = Collector()
        for event in self.events(text, **settings):
            collector.add(event)
        return collector.completion()

    def stream(self, text: str, **settings: Any) -> Generator[str, None, None]:
        """Say `text` and yield the answer piece by piece, without thinking and tool calls."""
        with closing(self.events(text, **settings)) as events:
            for event in events:
                if isinstance(event, Text) and event.channel == "answer":
                    yield event.text

    def events(self, text: str, **settings: Any) -> Generator[ChatEvent, None, None]:
        """Say `text` and yield everything that happens until the reply has ended.

        Leaving early (`close`, `break`, Ctrl-C) stops the model and keeps what it has said so far as a
        partial reply. Errors leave the conversation as it was.

        Args:
            text: the user's message.
            settings: fields of `GenerationOptions` and `Sampling`, for this turn only.

        Raises:
            PromptError: the template refuses the messages, or they do not fit into the context.
            OptionError: a setting that does not exist or is outside what it may be.
            EngineError: the runtime failed or is closed, or a reply is still under way.
        """
        if self._is_busy:
            raise EngineError("the previous reply is still under way", hint="close its stream first")
        options = self.options.changed(**settings)
        said = {"role": "user", "content": text}
        prompt = self._encode([*self._messages, said])
        collector = Collector()
        self._is_busy = True
        try:
            with closing(self._run(prompt, options)) as events:
                for event in events:
                    collector.add(event)
                    yield event
        except (GeneratorExit, KeyboardInterrupt):
            self._commit(said, collector)
            raise
        else:
            self._commit(said, collector)
        finally:
            self._is_busy = False

    def _encode(self, turns: list[dict[str, Any]]) -> list[int]:
        system = [{"role": "system", "content": self.system}] if self.system else []
        shown = [{k: v for k, v in turn.items() if k != "partial"} for turn in system + turns]
        if self._plain:
            return encode_text(self._tokenizer, "".join(f"{turn['content']}\n" for turn in shown))
        return encode_chat(self._tokenizer, shown, enable_thinking=self.enable_thinking, tools=self._tools)

    def _commit(self, said: dict[str, Any], collector: Collector) -> None:
        """Put the turn into the history; a reply stopped before its first word leaves none."""
        reply = _reply(collector)
        if reply is not None:
            self._messages += [said, reply]


def _reply(collector: Collector) -> dict[str, Any] | None:
    finished = collector.finished
    is_partial = finished is None or finished.reason == "cancelled"
    unread = [call.text for call in collector.tool_calls if call.error is not None]
    reply: dict[str, Any] = {"role": "assistant", "content": collector.text() + "".join(unread)}
    if thinking := collector.text("thinking").strip():
        reply["reasoning_content"] = thinking
    calls = [
        {"type": "function", "function": {"name": call.name, "arguments": dict(call.arguments)}}
        for call in collector.tool_calls
        if call.error is None
    ]
    if calls:
        reply["tool_calls"] = calls
    if not is_partial:
        return reply
    return {**reply, "partial": True} if len(reply) > 2 or reply["content"] else None


def _check_message(message: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(message.get("role"), str) or "content" not in message:
        raise OptionError(f"message is {message!r}, expected a role and a content")
    return dict(message)
