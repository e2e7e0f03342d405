# ruff: noqa: E501 - the replies as the models write them
"""Replies of every family are told apart alike: thinking, answer and calls, with markers in nobody's text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgelm.text.segments import Segment, Segmenter, ToolCall

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        },
    },
}
ONE = ("weather", {"city": 'Paris {"}]', "days": 3})
TWO = ("weather", {"city": "Rome"})
ONE_JSON, TWO_JSON = '{"city": "Paris {\\"}]", "days": 3}', '{"city": "Rome"}'
HARMONY = ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>", "<|constrain|>")
COHERE = (
    "<|START_THINKING|>", "<|END_THINKING|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>",
    "<|START_ACTION|>", "<|END_ACTION|>",
)  # fmt: skip


def split(
    tokenizer: Any, text: str, prompt: str = "", tools: Any = (TOOL,)
) -> tuple[dict[str, str], list[ToolCall]]:
    segmenter = Segmenter(tokenizer, tokenizer.encode(prompt, add_special_tokens=False), tools)
    found: list[Segment | ToolCall] = []
    for token in tokenizer.encode(text, add_special_tokens=False):
        found += segmenter.add(token)
    found += segmenter.finish()
    channels: dict[str, str] = {}
    for item in found:
        if isinstance(item, Segment):
            channels[item.channel] = channels.get(item.channel, "") + item.text
    return channels, [item for item in found if isinstance(item, ToolCall)]


THINKERS: dict[str, tuple[tuple[str, ...], str | None, str, str, str]] = {
    "Magistral": (("[THINK]", "[/THINK]"), None, "", "[THINK]Hm[/THINK]", "Four"),
    "Command A": (COHERE, None, "", "<|START_THINKING|>Hm<|END_THINKING|><|START_RESPONSE|>", "Four<|END_RESPONSE|>"),
    "Seed-OSS": (("<seed:think>", "</seed:think>"), None, "", "<seed:think>Hm</seed:think>", "Four"),
    "EXAONE Deep": ((), "{{ '</thought>' }}", "[|assistant|]<thought>\n", "Hm</thought>\n", "Four"),
    "Apertus": (("<|inner_prefix|>", "<|inner_suffix|>"), None, "", "<|inner_prefix|>Hm<|inner_suffix|>", "Four"),
    "Hunyuan": ((), "{{ '<think></think><answer></answer>' }}", "", "<think>\nHm</think>\n<answer>\n", "Four</answer>"),
    "Granite 3.3": ((), "{{ '<think></think><response></response>' }}", "", "<think>Hm</think><response>", "Four</response>"),
    "Kimi-VL": (("◁think▷", "◁/think▷"), None, "◁think▷", "Hm◁/think▷", "Four"),
    "R1 distill, as text": ((), "{% set c = m.split('</think>') %}", "<think>\n", "Hm</think>\n\n", "Four"),
    "gpt-oss": (
        HARMONY, None, "<|start|>assistant",
        "<|channel|>analysis<|message|>Hm<|end|><|start|>assistant<|channel|>final<|message|>", "Four",
    ),
    "gpt-oss without its turns": (
        HARMONY, None, "<|start|>assistant", "<|channel|>analysis<|message|>Hm<|channel|>final<|message|>", "Four",
    ),
    "gpt-oss inside its analysis": (
        HARMONY, None, "<|start|>assistant<|channel|>analysis<|message|>",
        "Hm<|end|><|start|>assistant<|channel|>final<|message|>", "Four",
    ),
}  # fmt: skip


@pytest.mark.parametrize("family", THINKERS)
def test_thinking_is_told_from_the_answer(family: str, build_family: Callable[..., Any]) -> None:
    markers, template, prompt, thought, answer = THINKERS[family]
    tokenizer = build_family(markers, template)
    channels, calls = split(tokenizer, thought + answer, prompt)
    assert (channels.get("thinking", "").strip(), channels["answer"].strip(), calls) == ("Hm", "Four", [])


def named(name: str, arguments: str, of: str = "arguments", key: str = "name") -> str:
    return f'{{"{key}": "{name}", "{of}": {arguments}}}'


BOTH = f"[{named('weather', ONE_JSON)}, {named('weather', TWO_JSON)}]"
TEXT = '{"name": "weather", "arguments": "{\\"city\\": \\"Rome\\"}"}'
T_CALL = "{{ '<tool_call>' }}"
DEEPSEEK = (
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁sep｜>",
)
KIMI = (
    "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", "<|tool_call_begin|>", "<|tool_call_end|>",
    "<|tool_call_argument_begin|>",
)  # fmt: skip

CALLERS: dict[str, tuple[tuple[str, ...], str | None, str, list[tuple[str, dict[str, Any]]]]] = {
    "Mistral, JSON": (("[TOOL_CALLS]",), None, f"[TOOL_CALLS]{BOTH}", [ONE, TWO]),
    "Mistral, ids": (
        ("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"), None,
        f"[TOOL_CALLS]weather[CALL_ID]a1b2c3d4e[ARGS]{ONE_JSON}[TOOL_CALLS]weather[CALL_ID]x[ARGS]{TWO_JSON}", [ONE, TWO],
    ),
    "Mistral, no ids": (("[TOOL_CALLS]", "[ARGS]"), None, f"[TOOL_CALLS]weather[ARGS]{ONE_JSON}", [ONE]),
    "Mistral, a name": (("[TOOL_CALLS]",), None, f"[TOOL_CALLS]weather{TWO_JSON}\n", [TWO]),
    "Mistral, in a row": (("[TOOL_CALLS]", "[ARGS]"), None, f"[TOOL_CALLS]weather[ARGS]{ONE_JSON}weather[ARGS]{TWO_JSON}", [ONE, TWO]),
    "Hermes": ((), T_CALL, f"<tool_call>\n{named('weather', ONE_JSON)}\n</tool_call>\n<tool_call>{TEXT}</tool_call>", [ONE, TWO]),
    "Hermes, a list": ((), T_CALL, f"<tool_call>{BOTH}</tool_call>", [ONE, TWO]),
    "Hermes, no end": ((), T_CALL, f"<tool_call>{named('weather', ONE_JSON)}", [ONE]),
    "OpenAI's wrapping": ((), T_CALL, f'<tool_call>{{"type": "function", "function": {named("weather", TWO_JSON)}}}</tool_call>', [TWO]),
    "Qwen3-Coder": (
        (), "{{ '<tool_call>\\n<function=' }}",
        "<tool_call>\n<function=weather>\n<parameter=city>\nRome\n</parameter>\n</function>\n"
        "<function=weather>\n<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>",
        [TWO, ("weather", {"days": 3})],
    ),
    "Qwen3-Coder, no opening": (
        (), "{{ '<tool_call>\\n<function=' }}", "<function=weather>\n<parameter=city>\nRome\n</parameter>\n</function>", [TWO],
    ),
    "Qwen3-Coder, no end": (
        (), "{{ '<tool_call>\\n<function=' }}",
        "<tool_call>\n<function=weather>\n<parameter=city>\nRome\n</parameter>\n</function>", [TWO],
    ),
    "Seed-OSS": (
        ("<seed:tool_call>", "</seed:tool_call>"), None,
        "<seed:tool_call>\n<function=weather>\n<parameter=city>Rome</parameter>\n</function>\n</seed:tool_call>", [TWO],
    ),
    "GLM": (
        (), "{{ '<tool_call><arg_key>' }}",
        "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Rome</arg_value>\n</tool_call>", [TWO],
    ),
    "Llama 3": (("<|python_tag|>",), "x", named("weather", ONE_JSON, "parameters"), [ONE]),
    "Llama 3, several": (("<|python_tag|>",), "x", f"{named('weather', ONE_JSON, 'parameters')}; {named('weather', TWO_JSON, 'parameters')}", [ONE, TWO]),
    "Llama 3, tagged": (("<|python_tag|>",), "x", f"<|python_tag|>{named('weather', TWO_JSON, 'parameters')}", [TWO]),
    "Llama 3, built in": (("<|python_tag|>",), "x", '<|python_tag|>weather.call(city="Rome")', [TWO]),
    "xLAM": ((), '{{ tools }} [{"name": "", "arguments": {}}]', f"```json\n{BOTH}\n```", [ONE, TWO]),
    "Phi-4-mini": (("<|tool_call|>", "<|/tool_call|>"), None, f"<|tool_call|>{BOTH}<|/tool_call|>", [ONE, TWO]),
    "Granite 3": (("<|tool_call|>",), None, f"<|tool_call|>{BOTH}", [ONE, TWO]),
    "Command A": (
        COHERE, None,
        f'<|START_ACTION|>[{{"tool_call_id": "0", "tool_name": "weather", "parameters": {ONE_JSON}}}]<|END_ACTION|>', [ONE],
    ),
    "Nemotron": ((), "{{ '<TOOLCALL>' }}", f"<TOOLCALL>{BOTH}</TOOLCALL>", [ONE, TWO]),
    "Hunyuan": ((), "{{ '<tool_calls>' }}", f"<tool_calls>{BOTH}</tool_calls>", [ONE, TWO]),
    "Apertus": (("<|tools_prefix|>", "<|tools_suffix|>"), None, f'<|tools_prefix|>[{{"weather": {ONE_JSON}}}]<|tools_suffix|>', [ONE]),
    "Kimi K2": (
        KIMI, None,
        f"<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0<|tool_call_argument_begin|>{ONE_JSON}<|tool_call_end|>"
        f"<|tool_call_begin|>functions.weather:1<|tool_call_argument_begin|>{TWO_JSON}<|tool_call_end|><|tool_calls_section_end|>",
        [ONE, TWO],
    ),
    "DeepSeek R1": (
        DEEPSEEK, None,
        f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{ONE_JSON}\n```<｜tool▁call▁end｜>\n"
        f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{TWO_JSON}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        [ONE, TWO],
    ),
    "DeepSeek V3.1": (
        DEEPSEEK, None,
        f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>{ONE_JSON}<｜tool▁call▁end｜><｜tool▁calls▁end｜>", [ONE],
    ),
    "DeepSeek V3.2": (
        (), "{{ '<｜DSML｜function_calls>' }}",
        '<｜DSML｜function_calls>\n<｜DSML｜invoke name="weather">\n<｜DSML｜parameter name="city" string="true">Rome</｜DSML｜parameter>\n'
        "</｜DSML｜invoke>\n</｜DSML｜function_calls>",
        [TWO],
    ),
    "LFM2": (
        ("<|tool_call_start|>", "<|tool_call_end|>"), None,
        "<|tool_call_start|>[weather(city='Rome'), weather(days=3, city=null)]<|tool_call_end|>",
        [TWO, ("weather", {"days": 3, "city": None})],
    ),
    "Olmo 3": ((), "{{ '<function_calls>' }}", '<function_calls>weather(city="Rome")\nweather(days=3)</function_calls>', [TWO, ("weather", {"days": 3})]),
    "Gemma 4": (
        ("<|tool_call>", "<tool_call|>", '<|"|>'), None,
        '<|tool_call>call:weather{city:<|"|>Paris {"}]<|"|>,days:3}<tool_call|>', [ONE],
    ),
    "FunctionGemma": (
        ("<start_function_call>", "<end_function_call>", "<escape>"), None,
        "<start_function_call>call:weather{city:<escape>Rome}, {<escape>,at:{lat:1.5,tags:[<escape>a<escape>,true]}}<end_function_call>",
        [("weather", {"city": "Rome}, {", "at": {"lat": 1.5, "tags": ["a", True]}})],
    ),
    "gpt-oss": (
        HARMONY, None,
        f"<|channel|>analysis<|message|>Hm<|end|><|start|>assistant<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{ONE_JSON}",
        [ONE],
    ),
    "gpt-oss, recipient first": (HARMONY, None, f" to=functions.weather<|channel|>commentary json<|message|>{TWO_JSON}<|call|>", [TWO]),
}  # fmt: skip


@pytest.mark.parametrize("family", CALLERS)
def test_calls_are_data_in_every_documented_form(family: str, build_family: Callable[..., Any]) -> None:
    markers, template, said, wanted = CALLERS[family]
    tokenizer = build_family(markers, template)
    channels, calls = split(tokenizer, said, "<|start|>assistant" if markers == HARMONY else "")
    assert [(call.error, call.name, dict(call.arguments)) for call in calls] == [
        (None, *call) for call in wanted
    ]
    assert channels.get("answer", "").strip() == ""


BROKEN: dict[str, str] = {
    "Mistral, JSON": '[TOOL_CALLS][{"name": "weather", "argume',
    "Mistral, ids": '[TOOL_CALLS]weather[CALL_ID]a1b2c3d4e[ARGS]{"city',
    "Mistral, a name": "[TOOL_CALLS]I will call the weather",
    "Hermes": '<tool_call>{"name": "weather", "arguments": [1]}</tool_call>',
    "Qwen3-Coder": "<tool_call>\n<function=weather>\n<parameter=city>\nRo",
    "GLM": "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Ro",
    "Llama 3": '{"name": "weather", "parameters": {"city": "Ro',
    "Llama 3, tagged": "<|python_tag|>import os",
    "Phi-4-mini": "<|tool_call|>weather(city='Rome')<|/tool_call|>",
    "Command A": "<|START_ACTION|>[{<|END_ACTION|>",
    "Kimi K2": "<|tool_calls_section_begin|>weather<|tool_calls_section_end|>",
    "DeepSeek R1": "<｜tool▁calls▁begin｜>weather(1)<｜tool▁calls▁end｜>",
    "LFM2": "<|tool_call_start|>[weather(city=open('x'))]<|tool_call_end|>",
    "Gemma 4": "<|tool_call>call:weather{city:<tool_call|>",
    "gpt-oss": '<|channel|>commentary to=functions.weather<|message|>{"city": ',
}


@pytest.mark.parametrize("family", BROKEN)
def test_a_call_that_cannot_be_read_is_said_and_is_no_answer(
    family: str, build_family: Callable[..., Any]
) -> None:
    markers, template, _, _ = CALLERS[family]
    tokenizer = build_family(markers, template)
    channels, calls = split(tokenizer, BROKEN[family], "<|start|>assistant" if markers == HARMONY else "")
    assert len(calls) == 1
    assert calls[0].error
    assert calls[0].name == ""
    assert channels.get("answer", "").strip() == ""


def test_json_that_is_no_call_is_the_answer(build_family: Callable[..., Any]) -> None:
    tokenizer = build_family(("<|python_tag|>",), "x")
    for text in ('{"city": "Rome"}', "[1, 2]", "```python\nx\n```", "{", "Rome"):
        assert split(tokenizer, text) == ({"answer": text}, [])
    said = named("weather", TWO_JSON, "parameters")
    assert split(tokenizer, said, tools=None) == ({"answer": said}, [])
    assert split(tokenizer, f"As JSON: {said}")[0]["answer"] == f"As JSON: {said}"


def test_harmony_keeps_messages_of_a_channel_apart_and_shows_a_preamble(
    build_family: Callable[..., Any],
) -> None:
    tokenizer = build_family(HARMONY)
    text = (
        "<|channel|>analysis<|message|>A<|end|><|start|>assistant<|channel|>analysis<|message|>B<|end|>"
        "<|start|>assistant<|channel|>commentary<|message|>I look.<|end|><|start|>assistant<|channel|>final<|message|>C"
    )
    assert split(tokenizer, text, "<|start|>assistant")[0] == {"thinking": "A\n\nB", "answer": "I look.\n\nC"}


def test_what_is_no_harmony_is_the_answer(build_family: Callable[..., Any]) -> None:
    tokenizer = build_family(HARMONY)
    assert split(tokenizer, "Hello", "Once upon")[0] == {"answer": "Hello"}
    assert split(tokenizer, "Hello", "<|start|>assistant")[0] == {"answer": "Hello"}
    assert split(tokenizer, "Hello", "<|start|>assistant<|channel|>final<|message|>I say")[0] == {
        "answer": "Hello"
    }
