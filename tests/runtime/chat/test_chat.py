"""A conversation: history, reuse, partial replies, and errors that leave it as it was."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import pytest

from edgelm.errors import EngineError, OptionError, PromptError
from edgelm.runtime.chat.chat import Chat
from edgelm.runtime.engine import Engine
from edgelm.runtime.events import ChatEvent, Finished, Text, ToolCall, Usage
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.runtime.generation.text import generate_text
from edgelm.runtime.worker import EngineThread

USAGE = Usage(1, 0, 2, 0.1, 0.1, 0.1, 0)


class Replies:
    """A `run` that answers from a list, and notes the prompts and how its streams ended."""

    def __init__(self, tokenizer: Any, *replies: list[ChatEvent]) -> None:
        self.tokenizer = tokenizer
        self.replies = list(replies)
        self.prompts: list[str] = []
        self.options: list[GenerationOptions] = []
        self.closed = 0

    def __call__(self, ids: Sequence[int], options: GenerationOptions) -> Generator[ChatEvent, None, None]:
        self.prompts.append(self.tokenizer.decode(list(ids)))
        self.options.append(options)
        try:
            yield from self.replies.pop(0)
        finally:
            self.closed += 1


def reply(*pieces: str) -> list[ChatEvent]:
    return [*map(Text, pieces), Finished("stop", USAGE)]


def test_every_turn_renders_the_whole_conversation(tokenizer: Any) -> None:
    run = Replies(tokenizer, reply("Hel", "lo"), reply("Fine"))
    chat = Chat(run, tokenizer, system="Be kind.")
    assert chat.send("Hi").text == "Hello"
    assert list(chat.stream("How?")) == ["Fine"]
    opening = "system: Be kind.<end>user: Hi<end>assistant: "
    assert run.prompts == [opening, opening + "Hello<end>user: How?<end>assistant: "]
    assert [message["content"] for message in chat.messages] == ["Hi", "Hello", "How?", "Fine"]


def test_thinking_is_kept_apart(tokenizer: Any) -> None:
    said: list[ChatEvent] = [Text("\nHm.\n", "thinking"), *reply("Yes")]
    run = Replies(tokenizer, said, reply("No"))
    chat = Chat(run, tokenizer)
    completion = chat.send("Well?")
    assert (completion.text, completion.thinking) == ("Yes", "\nHm.\n")
    assert chat.messages[-1] == {"role": "assistant", "content": "Yes", "reasoning_content": "Hm."}
    chat.send("And?")
    assert "Hm." not in run.prompts[-1]


def test_tool_calls_are_kept_as_data_and_unread_ones_are_no_answer(tokenizer: Any) -> None:
    calls: list[ChatEvent] = [ToolCall("f", {"x": 1}, "raw"), ToolCall("", {}, "{oops", error="bad")]
    chat = Chat(Replies(tokenizer, [*calls, Finished("stop", USAGE)]), tokenizer)
    assert len(chat.send("Call it").tool_calls) == 2
    message = chat.messages[-1]
    described = {"name": "f", "arguments": {"x": 1}}
    assert message["tool_calls"] == [{"type": "function", "function": described, "id": "call00000"}]
    assert message["content"] == ""
    assert message["unread_calls"] == [{"text": "{oops", "error": "bad"}]
    assert "oops" not in tokenizer.decode(chat._encode(chat.messages, None))


def test_leaving_early_keeps_a_partial_reply(tokenizer: Any) -> None:
    run = Replies(tokenizer, reply("One", "Two"), reply("More"))
    chat = Chat(run, tokenizer)
    for piece in chat.stream("Count"):
        assert piece == "One"
        break
    assert run.closed == 1
    assert chat.messages[-1] == {"role": "assistant", "content": "One", "partial": True}
    assert chat.send("Go on").text == "More"
    assert "assistant: One<end>" in run.prompts[-1]


def test_a_reply_stopped_before_its_first_word_leaves_nothing(tokenizer: Any) -> None:
    chat = Chat(Replies(tokenizer, [Finished("cancelled", USAGE)]), tokenizer)
    assert chat.send("Hi").reason == "cancelled"
    assert chat.messages == []


def test_an_error_leaves_the_chat_as_it_was(tokenizer: Any) -> None:
    def breaks() -> Iterator[ChatEvent]:
        yield Text("Half")
        raise EngineError("out of luck")

    run = Replies(tokenizer, reply("Hello"), breaks(), reply("Back"))  # type: ignore[arg-type]
    chat = Chat(run, tokenizer)
    chat.send("Hi")
    with pytest.raises(EngineError, match="out of luck"):
        chat.send("Break")
    assert len(chat.messages) == 2
    assert chat.send("Again").text == "Back"


def test_the_templates_refusal_is_an_error(tokenizer: Any) -> None:
    chat = Chat(Replies(tokenizer), tokenizer, messages=[{"role": "user", "content": "Hi"}])
    with pytest.raises(PromptError, match="roles must alternate"):
        chat.send("Hi again")
    assert len(chat.messages) == 1


def test_settings_are_for_one_turn(tokenizer: Any) -> None:
    run = Replies(tokenizer, reply("a"), reply("b"))
    chat = Chat(run, tokenizer, options=GenerationOptions(max_tokens=7))
    chat.send("Hi", temperature=0.5, stop="x")
    chat.send("Hi")
    first, second = run.options
    assert (first.sampling.temperature, first.stop, first.max_tokens) == (0.5, ("x",), 7)
    assert second == GenerationOptions(max_tokens=7)
    with pytest.raises(OptionError, match="top_p"):
        chat.send("Hi", top_p=3)


def test_two_replies_at_once_are_refused(tokenizer: Any) -> None:
    chat = Chat(Replies(tokenizer, reply("a", "b"), reply("c")), tokenizer)
    first = chat.stream("Hi")
    next(first)
    with pytest.raises(EngineError, match="still under way"):
        chat.send("Wait")
    first.close()
    assert chat.send("Now").text == "c"


def test_clear_keeps_the_system_prompt(tokenizer: Any) -> None:
    run = Replies(tokenizer, reply("a"), reply("b"))
    chat = Chat(run, tokenizer, system="S")
    chat.send("one")
    chat.clear()
    assert chat.messages == []
    chat.system = "T"
    chat.send("two")
    assert run.prompts[-1] == "system: T<end>user: two<end>assistant: "


def test_plain_joins_the_messages(tokenizer: Any) -> None:
    run = Replies(tokenizer, reply("a"))
    Chat(run, tokenizer, system="Intro", plain=True).send("Once upon")
    assert run.prompts == ["Intro\nOnce upon\n"]


def test_messages_given_are_checked(tokenizer: Any) -> None:
    with pytest.raises(OptionError, match="expected a role"):
        Chat(Replies(tokenizer), tokenizer, messages=[{"content": "x"}])


@pytest.mark.slow
def test_a_real_engine_reuses_the_conversation(build_network: Callable[[str], Any], tokenizer: Any) -> None:
    def setup() -> Engine:
        return Engine(build_network("llama"), vocab_size=300)

    import mlx.core as mx

    mx.synchronize()
    with EngineThread(setup) as thread:

        def run(ids: Sequence[int], options: GenerationOptions) -> Generator[ChatEvent, None, None]:
            return thread.submit(
                lambda engine, cancel: generate_text(
                    engine, tokenizer, ids, options, cancel, stop_tokens=frozenset({256})
                )
            ).events()

        chat = Chat(run, tokenizer, options=GenerationOptions(max_tokens=6))
        first = chat.send("Hello there")
        second = chat.send("And again")
        assert second.usage.cached_tokens >= first.usage.prompt_tokens
        for _ in chat.stream("Stop at once", max_tokens=500):
            break
        assert chat.send("Still there?").usage.completion_tokens > 0
