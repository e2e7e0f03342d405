"""A chat with gpt-oss: analysis is thinking and not sent again, calls are data, and what was cut goes on in its place."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import pytest

from edgelm.runtime.chat.chat import Chat
from edgelm.runtime.events import ChatEvent, Finished, Text, Usage
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.text.prompt import encode_begun
from edgelm.text.segments import Segment, Segmenter
from tests.support.family_tokenizers import build_family

MARKERS = ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>", "<|constrain|>")
# The published template, but for its system message.
TEMPLATE = """\
{%- set last = namespace(name=none) -%}
{%- for m in messages -%}
{%- if m.role == 'assistant' and m.tool_calls -%}
{%- if m.content and m.thinking %}{{ raise_exception('Cannot pass both content and thinking') }}{% endif -%}
{%- if m.content or m.thinking -%}
<|start|>assistant<|channel|>analysis<|message|>{{ m.content or m.thinking }}<|end|>
{%- endif -%}
{%- set last.name = m.tool_calls[0].function.name -%}
<|start|>assistant to=functions.{{ last.name }}<|channel|>commentary json<|message|>
{{- m.tool_calls[0].function.arguments | tojson }}<|call|>
{%- elif m.role == 'assistant' -%}
<|start|>assistant<|channel|>final<|message|>{{ m.content }}<|end|>
{%- elif m.role == 'tool' -%}
<|start|>functions.{{ last.name }} to=assistant<|channel|>commentary<|message|>{{ m.content | tojson }}<|end|>
{%- else -%}
<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}<|start|>assistant{%- endif -%}
"""
THOUGHT = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
FINAL = "<|channel|>final<|message|>"
CALL = ' to=functions.weather<|channel|>commentary json<|message|>{"city": "Rome"}'


def weather(city: str) -> str:
    """The weather."""
    return f"{city}: clear"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_family(MARKERS, TEMPLATE)


class Written:
    """Replies as the model writes them, one a prompt."""

    def __init__(self, tokenizer: Any, *replies: str) -> None:
        self._tokenizer = tokenizer
        self._replies = list(replies)
        self.prompts: list[str] = []

    def __call__(self, ids: Sequence[int], options: GenerationOptions) -> Generator[ChatEvent, None, None]:
        self.prompts.append(self._tokenizer.decode(list(ids)))
        tokens = self._tokenizer.encode(self._replies.pop(0), add_special_tokens=False)
        segmenter = Segmenter(self._tokenizer, ids)
        found = [item for token in tokens for item in segmenter.add(token)] + segmenter.finish()
        for item in found:
            yield Text(item.text, item.channel) if isinstance(item, Segment) else item
        yield Finished("stop", Usage(1, 0, len(tokens), 0.0, 0.0, 0.0, 0), None, tuple(tokens))


def test_analysis_is_thinking_and_is_not_sent_again(tokenizer: Any) -> None:
    run = Written(tokenizer, f"{THOUGHT}{FINAL}Four", f"{FINAL}Five")
    chat = Chat(run, tokenizer)
    reply = chat.send("2 + 2")
    assert (reply.text, reply.thinking) == ("Four", "Hm.")
    assert chat.messages[-1] == {"role": "assistant", "content": "Four", "reasoning_content": "Hm."}
    assert chat.send("And one?").text == "Five"
    assert "Hm." not in run.prompts[1]
    assert f"<|start|>assistant{FINAL}Four<|end|>" in run.prompts[1]
    assert chat.can_think


def test_a_call_is_run_and_its_analysis_stays_until_the_answer(tokenizer: Any) -> None:
    run = Written(tokenizer, THOUGHT + CALL, f"{FINAL}It is clear.")
    chat = Chat(run, tokenizer, tools=[weather])
    assert chat.run_tools("Rome?").text == "It is clear."
    assert "<|channel|>analysis<|message|>Hm.<|end|>" in run.prompts[1]
    assert "Rome: clear" in run.prompts[1]


def test_a_preamble_beside_a_call_is_no_reason_to_refuse(tokenizer: Any) -> None:
    said = f"{THOUGHT}<|channel|>commentary<|message|>I look.<|end|><|start|>assistant{CALL}"
    run = Written(tokenizer, said, f"{FINAL}Clear.")
    assert Chat(run, tokenizer, tools=[weather]).run_tools("Rome?").text == "Clear."
    assert "I look." in run.prompts[1]


def test_a_reply_left_early_keeps_what_was_thought(tokenizer: Any) -> None:
    chat = Chat(Written(tokenizer, f"{THOUGHT}{FINAL}Four and more"), tokenizer)
    events = chat.events("2 + 2")
    for event in events:
        if isinstance(event, Text) and event.channel == "answer":
            break
    events.close()
    assert chat.messages[-1]["partial"]
    assert chat.messages[-1]["reasoning_content"] == "Hm."
    assert "<|" not in chat.messages[-1]["content"]


def test_a_cut_answer_goes_on_in_its_channel(tokenizer: Any) -> None:
    messages = [{"role": "user", "content": "2 + 2"}]
    plain = tokenizer.decode(encode_begun(tokenizer, messages, "Fo"))
    assert plain.endswith(f"<|start|>assistant{FINAL}Fo")
    thought = tokenizer.decode(encode_begun(tokenizer, messages, "Fo", thinking="Hm."))
    assert thought.endswith(f"<|start|>assistant{THOUGHT}{FINAL}Fo")
