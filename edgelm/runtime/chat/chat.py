"""A conversation: messages in, text out.

The model's own chat template is rendered in full at every turn; the engine reuses what it has computed of
the same tokens. Rendering happens here, in the caller's thread, and everything of MLX behind `run`. A turn
enters the history only when its reply has ended, so that after an error the chat is as it was before.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Unpack

from edgelm.errors import EngineError, OptionError
from edgelm.messages.reader import read_turns
from edgelm.options import check_callable, check_type
from edgelm.runtime.chat.file import write_chat
from edgelm.runtime.chat.history import RenderedHistory
from edgelm.runtime.chat.reply import UNREAD, reply_message
from edgelm.runtime.chat.tool_loop import Approve, ToolEvent, ToolResult, tool_events
from edgelm.runtime.events import ChatEvent, HistoryRewritten, Text
from edgelm.runtime.generation.completion import Collector, Completion, collect
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.runtime.generation.typed import GenerationSettings
from edgelm.text.families.family import family_of
from edgelm.text.prompt import encode_chat, encode_text
from edgelm.text.tools.tool import Tool, as_tools

Run = Callable[[Sequence[int], GenerationOptions], Generator[ChatEvent, None, None]]
"""Generates from a prompt's ids: `generate_text` on the engine thread."""
AsyncRun = Callable[[Sequence[int], GenerationOptions], AsyncGenerator[ChatEvent, None]]
"""The same in an event loop."""
BestRun = Callable[
    [Sequence[int], GenerationOptions, Sequence[Mapping[str, Any]]], Generator[ChatEvent, None, None]
]
"""The same of several answers, which are judged by the messages before them."""
_CALL_ID = "call{:05}"
"""Nine letters and digits: Mistral's templates refuse any other id."""


class Chat:
    """One conversation with one model.

    Args:
        run: generates from token ids.
        tokenizer: mlx-lm's TokenizerWrapper.
        system: the system prompt; may be changed between turns.
        options: how replies are made, unless a turn says otherwise.
        enable_thinking: whether replies begin with thinking, unless a turn says otherwise; None is the
            model's default.
        tools: functions the model may call: Python functions, `Tool`s or JSON definitions.
        messages: earlier turns to go on from.
        plain: for base models: join the messages as plain text instead of using a chat template.
        arun: as `run`, for `asend`, `astream` and `aevents`.
        best: as `run`, for settings that ask for the best of several answers; it is told the messages too.
        model: the model's name, for files.

    Raises:
        OptionError: an argument that is not what it may be.
    """

    def __init__(
        self,
        run: Run,
        tokenizer: Any,
        *,
        system: str | None = None,
        options: GenerationOptions | None = None,
        enable_thinking: bool | None = None,
        tools: Iterable[Any] | None = None,
        messages: Iterable[Mapping[str, Any]] = (),
        plain: bool = False,
        arun: AsyncRun | None = None,
        best: BestRun | None = None,
        model: str | None = None,
    ) -> None:
        check_type("system", system, str, NoneType)
        check_type("enable_thinking", enable_thinking, bool, NoneType)
        self.system = system
        self.model = model
        self._arun, self._best = arun, best
        self.options = options or GenerationOptions()
        self.enable_thinking = enable_thinking
        self._run = run
        self._tokenizer = tokenizer
        self._tools = as_tools(tools)
        self._plain = plain
        self._messages = read_turns(messages)
        self._is_busy = False
        self._history = RenderedHistory()

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The turns so far, without the system prompt: copies of `{"role", "content"}`.

        A reply's thinking is under `"reasoning_content"`, its calls under `"tool_calls"`, those that could not be
        read under `"unread_calls"` (`{"text", "error"}`; the model does not see them again), and one that was stopped
        by its reader has `"partial": True`. Results of calls have the role "tool".
        """
        return [dict(message) for message in self._messages]

    @property
    def tools(self) -> Mapping[str, Tool]:
        """The functions that the model may call, by name."""
        return self._tools

    @property
    def can_think(self) -> bool:
        """Whether the model knows a thinking block."""
        return family_of(self._tokenizer).can_think

    @property
    def pending_calls(self) -> list[dict[str, Any]]:
        """The calls of the last reply that have no result yet: `{"id", "name", "arguments"}`."""
        answered: set[Any] = set()
        for message in reversed(self._messages):
            if message["role"] != "tool":
                calls = [call for call in message.get("tool_calls", ()) if "id" in call]
                return [
                    {"id": call["id"], **call["function"]} for call in calls if call["id"] not in answered
                ]
            answered.add(message.get("tool_call_id"))
        return []

    def clear(self) -> None:
        """Forget the turns; the system prompt stays."""
        self._messages.clear()
        self._history.forget()

    def replace(self, messages: Iterable[Mapping[str, Any]]) -> None:
        """Go on from other turns; the system prompt stays."""
        self._messages = read_turns(messages)
        self._history.forget()

    def add_result(self, call_id: str, text: str) -> None:
        """Put the result of one of the `pending_calls` into the history; then `send()` goes on.

        Raises:
            OptionError: no pending call has this id.
        """
        check_type("text", text, str)
        names = {call["id"]: call["name"] for call in self.pending_calls}
        if call_id not in names:
            raise OptionError(f"call {call_id!r} waits for no result, expected one of {sorted(names)}")
        self._messages.append(
            {"role": "tool", "tool_call_id": call_id, "name": names[call_id], "content": text}
        )

    def send(self, text: str | None = None, **settings: Unpack[GenerationSettings]) -> Completion:
        """Say `text` and wait for the reply. For settings and errors see `events`."""
        options = self._turn_options(settings)
        return collect(self.reply_events(text, options), options.grammar)

    def stream(
        self, text: str | None = None, **settings: Unpack[GenerationSettings]
    ) -> Generator[str, None, None]:
        """Say `text` and yield the answer piece by piece, without thinking and tool calls."""
        with closing(self.events(text, **settings)) as events:
            for event in events:
                if isinstance(event, Text) and event.channel == "answer":
                    yield event.text

    def events(
        self, text: str | None = None, **settings: Unpack[GenerationSettings]
    ) -> Generator[ChatEvent, None, None]:
        """Say `text` and yield everything that happens until the reply has ended.

        Leaving early (`close`, `break`, Ctrl-C) stops the model and keeps what it has said so far as a
        partial reply. Errors leave the conversation as it was.

        Args:
            text: the user's message; None lets the model go on after the results of its calls.
            settings: for this turn only: fields of `GenerationOptions` and `Sampling`, and `schema`, `regex`
                or `grammar`, which the answer (not the thinking) must match; such a turn calls no function.

        Raises:
            PromptError: the template refuses the messages, or they do not fit into the context.
            OptionError: a setting that does not exist or is outside what it may be; nothing to go on after.
            UnsupportedError: a schema with a keyword that cannot be enforced.
            EngineError: the runtime failed or is closed, or a reply is still under way.
        """
        return self.reply_events(text, self._turn_options(settings))

    def reply_events(self, text: str | None, options: GenerationOptions) -> Generator[ChatEvent, None, None]:
        """Do what `events` does, with settings that are built already."""
        with self._turn(text, options) as turn:
            yield from turn.opening
            with closing(self._replying(turn, options)) as events:
                for event in events:
                    turn.collector.add(event)
                    yield event

    def _replying(self, turn: _OpenTurn, options: GenerationOptions) -> Generator[ChatEvent, None, None]:
        if options.best_of == 1:
            return self._run(turn.prompt, options)
        if self._best is None:
            raise EngineError("this chat was not made for several answers", hint="make it with model.chat()")
        return self._best(turn.prompt, options, turn.messages)

    async def asend(self, text: str | None = None, **settings: Unpack[GenerationSettings]) -> Completion:
        """Do what `send` does, in an event loop; cancelling the task stops the model and keeps what came as a partial reply."""
        options = self._turn_options(settings)
        collector = Collector(options.grammar)
        async with aclosing(self._areply(text, options)) as events:
            async for event in events:
                collector.add(event)
        return collector.completion()

    async def astream(
        self, text: str | None = None, **settings: Unpack[GenerationSettings]
    ) -> AsyncGenerator[str, None]:
        """Do what `stream` does, in an event loop."""
        async with aclosing(self.aevents(text, **settings)) as events:
            async for event in events:
                if isinstance(event, Text) and event.channel == "answer":
                    yield event.text

    def aevents(
        self, text: str | None = None, **settings: Unpack[GenerationSettings]
    ) -> AsyncGenerator[ChatEvent, None]:
        """Do what `events` does, in an event loop; cancelling the task, or `aclose`, stops the model."""
        return self._areply(text, self._turn_options(settings))

    async def _areply(self, text: str | None, options: GenerationOptions) -> AsyncGenerator[ChatEvent, None]:
        if self._arun is None:
            raise EngineError("this chat was not made for an event loop", hint="make it with model.chat()")
        with self._turn(text, options) as turn:
            for rewritten in turn.opening:
                yield rewritten
            async with aclosing(self._arun(turn.prompt, options)) as events:
                async for event in events:
                    turn.collector.add(event)
                    yield event

    @contextmanager
    def _turn(self, text: str | None, options: GenerationOptions) -> Iterator[_OpenTurn]:
        """Say `text`, and open a reply; the turn enters the history when it ends, or is left by its reader."""
        if self._is_busy:
            raise EngineError("the previous reply is still under way", hint="close its stream first")
        said = self._said(text)
        messages = [*self._messages, *said]
        prompt = self._encode(messages, options.enable_thinking)
        rewritten = self._history.compare(prompt, (self.system, options.enable_thinking))
        collector = Collector()
        self._is_busy = True
        try:
            opening = [rewritten] if rewritten is not None else []
            yield _OpenTurn(prompt, collector, opening, self._shown(messages))
        except (GeneratorExit, KeyboardInterrupt, asyncio.CancelledError):
            self._commit(said, collector)
            raise
        else:
            self._commit(said, collector)
        finally:
            self._is_busy = False

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the conversation, with its system prompt and settings, to a JSON file, whole or not at all.

        `Model.load_chat` goes on with it; the file is a row of training data as well.

        Raises:
            OutputError: the file is there already and `overwrite` is not asked for, or the disk refuses.
        """
        check_type("path", path, str, Path)
        check_type("overwrite", overwrite, bool)
        thinking = self.options.enable_thinking if self.enable_thinking is None else self.enable_thinking
        return write_chat(
            path,
            model=self.model,
            system=self.system,
            messages=self._messages,
            options=self.options.changed(enable_thinking=thinking),
            overwrite=overwrite,
        )

    def run_tools(
        self,
        text: str,
        *,
        approve: Approve | None = None,
        limit: int = 8,
        **settings: Unpack[GenerationSettings],
    ) -> Completion:
        """Say `text`, run the functions that the model calls, and wait for the reply that calls none.

        For arguments and errors see `tool_events`.
        """
        collector = Collector()
        for event in self.tool_events(text, approve=approve, limit=limit, **settings):
            if isinstance(event, ToolResult):
                collector = Collector()
            else:
                collector.add(event)
        return collector.completion()

    def tool_events(
        self,
        text: str,
        *,
        approve: Approve | None = None,
        limit: int = 8,
        **settings: Unpack[GenerationSettings],
    ) -> Generator[ToolEvent, None, None]:
        """Say `text` and yield what happens in every reply, and the result of every call between them.

        Args:
            text: the user's message.
            approve: asked before each call, with the tool and its arguments; False refuses the call, and
                the model is told so. None runs all.
            limit: most replies.
            settings: of every reply, as for `events`.

        Raises:
            OptionError: a schema, regex or grammar, which leaves no room for calls.
            EngineError: the model still calls functions after `limit` replies; and what `events` raises.
        """
        check_type("text", text, str)
        check_type("limit", limit, int)
        if approve is not None:
            check_callable("approve", approve)
        if limit < 1:
            raise OptionError(f"limit is {limit}, expected >= 1")
        options = self._turn_options(settings)
        if options.grammar is not None:
            raise OptionError(
                "a reply of a given form calls no function",
                hint="run the tools first, then ask for the form with send(text, schema=…)",
            )
        return tool_events(self, text, options, approve, limit)

    def _turn_options(self, settings: Mapping[str, Any]) -> GenerationOptions:
        options = self.options.changed(**settings)
        if options.enable_thinking is None and self.enable_thinking is not None:
            options = options.changed(enable_thinking=self.enable_thinking)
        return options

    def _said(self, text: str | None) -> list[dict[str, Any]]:
        if text is not None:
            check_type("text", text, str)
            return [{"role": "user", "content": text}]
        if self.pending_calls:
            raise OptionError(
                f"call {self.pending_calls[0]['id']!r} has no result yet", hint="add_result first"
            )
        if not self._messages or self._messages[-1]["role"] == "assistant":
            raise OptionError("there is nothing to reply to, expected a message")
        return []

    def _shown(self, turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The messages as the template sees them, the system prompt first."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [{k: v for k, v in turn.items() if k not in ("partial", UNREAD)} for turn in system + turns]

    def _encode(self, turns: list[dict[str, Any]], enable_thinking: bool | None) -> list[int]:
        shown = self._shown(turns)
        if self._plain:
            return encode_text(self._tokenizer, "".join(f"{turn['content']}\n" for turn in shown))
        tools = [tool.definition for tool in self._tools.values()]
        return encode_chat(self._tokenizer, shown, enable_thinking=enable_thinking, tools=tools)

    def _commit(self, said: list[dict[str, Any]], collector: Collector) -> None:
        """Put the turn into the history; a reply stopped before its first word leaves none."""
        self._history.replied(collector.finished.tokens if collector.finished else ())
        reply = reply_message(collector)
        if reply is None:
            return
        earlier = sum(len(message.get("tool_calls", ())) for message in self._messages)
        for number, call in enumerate(reply.get("tool_calls", ()), start=earlier):
            call["id"] = _CALL_ID.format(number)
        self._messages += [*said, reply]


@dataclass(frozen=True, slots=True)
class _OpenTurn:
    """A turn whose reply is under way: its prompt, what gathers the reply, and what is told before it."""

    prompt: list[int]
    collector: Collector
    opening: list[HistoryRewritten]
    messages: list[dict[str, Any]]
