"""Calls as each template family writes them, through mlx-lm's parsers: the same data whatever the family."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest

from edgelm.text.segments import Segment, Segmenter, ToolCall
from edgelm.text.tools.tool import as_tool


def weather(city: str, days: int = 1) -> str:
    """The weather in a city."""
    return f"{city}: clear for {days} days"


EXPECTED = ("weather", {"city": "Paris, France", "days": 3})
JSON = '{"city": "Paris, France", "days": 3}'
XML_ARGUMENTS = '<parameter name="city">Paris, France</parameter><parameter name="days">3</parameter>'

FAMILIES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "Qwen3, Hermes": ("json_tools", f'{{"name": "weather", "arguments": {JSON}}}', ()),
    "Qwen3-Coder": (
        "qwen3_coder",
        "<function=weather>\n<parameter=city>\nParis, France\n</parameter>\n<parameter=days>\n3\n</parameter>\n</function>",
        (),
    ),
    "GLM 4.7": (
        "glm47",
        "weather\n<arg_key>city</arg_key>\n<arg_value>Paris, France</arg_value>\n"
        "<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n",
        ("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
    ),
    "LongCat": (
        "longcat",
        "weather<longcat_arg_key>city</longcat_arg_key><longcat_arg_value>Paris, France</longcat_arg_value>"
        "<longcat_arg_key>days</longcat_arg_key><longcat_arg_value>3</longcat_arg_value>",
        (),
    ),
    "Mistral": ("mistral", f'[{{"name": "weather", "arguments": {JSON}}}]', ()),
    "Mistral 3": ("mistral", f"weather[ARGS]{JSON}", ("[ARGS]",)),
    "LFM2": ("pythonic", '[weather(city="Paris, France", days=3)]', ()),
    "Kimi K2": (
        "kimi_k2",
        f"<|tool_call_begin|>functions.weather:0<|tool_call_argument_begin|>{JSON}<|tool_call_end|>",
        ("<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"),
    ),
    "Kimi K3": (
        "kimi_k3",
        '<|open|>call tool="weather" index="1"<|sep|><|open|>argument key="city" type="string"<|sep|>Paris, France'
        '<|close|>argument<|sep|><|open|>argument key="days" type="number"<|sep|>3<|close|>argument<|sep|>'
        "<|close|>call<|sep|>",
        ("<|open|>", "<|close|>", "<|sep|>"),
    ),
    "MiniMax M2": ("minimax_m2", f'<invoke name="weather">{XML_ARGUMENTS}</invoke>', ()),
    "MiniCPM5": (
        "minicpm5",
        '"weather"><param name="city">Paris, France</param><param name="days">3</param>',
        (),
    ),
    "Gemma 4": (
        "gemma4",
        'call:weather{city:<|"|>Paris, France<|"|>,days:3}',
        ('<|"|>',),
    ),
    "FunctionGemma": (
        "function_gemma",
        "call:weather{city:<escape>Paris, France<escape>,days:3}",
        ("<escape>",),
    ),
    "Muse Spark": (
        "muse_spark",
        '<atem:invoke name="weather"><atem:parameter name="city">Paris, France</atem:parameter>'
        '<atem:parameter name="days">3</atem:parameter></atem:invoke>',
        (),
    ),
}
"""Family → (mlx-lm's parser, what the model writes between the markers, special tokens in it)."""


@pytest.fixture(scope="module")
def wrapped() -> Callable[[str, tuple[str, ...]], Any]:
    from mlx_lm.tokenizer_utils import TokenizerWrapper
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    def build(module: str, special: tuple[str, ...]) -> Any:
        parser = importlib.import_module(f"mlx_lm.tool_parsers.{module}")
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        markers = [marker for marker in (parser.tool_call_start, parser.tool_call_end) if marker]
        single = [marker for marker in markers if not any(inner in marker for inner in special)]
        tokenizer.add_special_tokens(
            [AddedToken(token, special=True) for token in ["<end>", *special, *single]]
        )
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
        return TokenizerWrapper(
            fast,
            tool_parser=parser.parse_tool_call,
            tool_call_start=parser.tool_call_start,
            tool_call_end=parser.tool_call_end,
        )

    return build


@pytest.mark.parametrize("family", FAMILIES)
def test_calls_are_data(family: str, wrapped: Callable[[str, tuple[str, ...]], Any]) -> None:
    module, text, special = FAMILIES[family]
    tokenizer = wrapped(module, special)
    segmenter = Segmenter(tokenizer, tools=[as_tool(weather).definition])
    said = f"Let me look.{tokenizer.tool_call_start}{text}{tokenizer.tool_call_end}"
    items: list[Segment | ToolCall] = []
    for token in tokenizer.encode(said, add_special_tokens=False):
        items += segmenter.add(token)
    items += segmenter.finish()
    (call,) = [item for item in items if isinstance(item, ToolCall)]
    assert (call.name, call.arguments, call.error) == (*EXPECTED, None)
    answer = "".join(item.text for item in items if isinstance(item, Segment) and item.channel == "answer")
    assert answer == "Let me look."
    assert as_tool(weather).call(call.arguments).text == "Paris, France: clear for 3 days"


def test_every_parser_of_mlx_lm_has_a_family_here() -> None:
    from pathlib import Path

    import mlx_lm.tool_parsers

    found = {path.stem for path in Path(mlx_lm.tool_parsers.__path__[0]).glob("*.py")} - {"__init__"}
    elsewhere = {"laguna"}  # GLM 4.7's parser under another name
    assert found - elsewhere == {module for module, _, _ in FAMILIES.values()}
