"""The marks of every family that is known, as data. A row counts for a model whose template or vocabulary has its marks.

Sources: the published chat templates; OpenAI's harmony format; mistral-common; vLLM's and llama.cpp's tool parsers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgelm.text.families.gemma_calls import read_gemma_calls
from edgelm.text.families.json_calls import Call, read_json_calls, read_keyed_calls
from edgelm.text.families.python_calls import read_python_calls
from edgelm.text.families.tagged_calls import (
    read_deepseek_calls,
    read_kimi_calls,
    read_mistral_calls,
    read_tool_call,
    read_xml_calls,
)

ReadCalls = Callable[[str, Any], list[Call]]
"""`(text between the marks, tools)` → calls; raises ValueError, SyntaxError or LookupError for what is none."""


@dataclass(frozen=True, slots=True)
class CallForm:
    """One way of writing calls."""

    start: str
    end: str
    """Empty where calls last to the end of the reply."""
    read: ReadCalls
    keeps_marks: bool = False
    """Whether start and end belong to what `read` takes."""


THINKING: tuple[tuple[str, str], ...] = (
    ("<think>", "</think>"),  # DeepSeek R1, Qwen3, SmolLM3, Hunyuan, ERNIE, Granite 3.3, Nemotron
    ("[THINK]", "[/THINK]"),  # Magistral, Ministral
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Cohere Command A, R7B
    ("<seed:think>", "</seed:think>"),  # Seed-OSS
    ("<thought>", "</thought>"),  # EXAONE Deep
    ("<|inner_prefix|>", "<|inner_suffix|>"),  # Apertus
    ("◁think▷", "◁/think▷"),  # Kimi-VL
    ("<reasoning>", "</reasoning>"),  # Reka Flash 3
    ("<|begin_of_thought|>", "<|end_of_thought|>"),  # Sky-T1, OpenThinker
)
"""Start and end, the most usual first; a model has one pair."""

CALLS: tuple[CallForm, ...] = (
    CallForm("<tool_call>", "</tool_call>", read_tool_call),  # Hermes, Qwen, GLM, SmolLM3, Granite 4, ERNIE
    CallForm("<seed:tool_call>", "</seed:tool_call>", read_xml_calls),
    CallForm("<tool_calls>", "</tool_calls>", read_json_calls),  # Hunyuan, Jamba
    CallForm("<TOOLCALL>", "</TOOLCALL>", read_json_calls),  # Nemotron
    CallForm("[TOOL_CALLS]", "", read_mistral_calls),
    CallForm("<|tool_call|>", "<|/tool_call|>", read_json_calls),  # Phi-4-mini
    CallForm("<|START_ACTION|>", "<|END_ACTION|>", read_json_calls),  # Cohere
    CallForm("<|tools_prefix|>", "<|tools_suffix|>", read_keyed_calls),  # Apertus
    CallForm("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", read_kimi_calls),
    CallForm("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", read_deepseek_calls),
    CallForm("<｜DSML｜function_calls>", "</｜DSML｜function_calls>", read_deepseek_calls),
    CallForm("<|tool_call_start|>", "<|tool_call_end|>", read_python_calls),  # LFM2
    CallForm("<function_calls>", "</function_calls>", read_python_calls),  # Olmo 3
    CallForm("<|python_start|>", "<|python_end|>", read_python_calls),  # Llama 4
    CallForm("<|tool_call>", "<tool_call|>", read_gemma_calls),  # Gemma 4
    CallForm("<start_function_call>", "<end_function_call>", read_gemma_calls),
    CallForm("<|action_start|><|plugin|>", "<|action_end|>", read_json_calls),  # InternLM
)

ANSWER_MARKS: tuple[tuple[str, str], ...] = (
    ("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
    ("<|START_TEXT|>", "<|END_TEXT|>"),
    ("<response>", "</response>"),  # Granite 3.3, ERNIE
    ("<answer>", "</answer>"),  # Hunyuan
    ("<|begin_of_solution|>", "<|end_of_solution|>"),
)
"""What some put around the answer; it is no part of it."""

OPENS_ANSWER = ("<|START_RESPONSE|>", "<|START_TEXT|>")
"""The one that Cohere's models write before every answer of a chat; the others are written or not."""
OPENS_TURN = "<|CHATBOT_TOKEN|>"
"""Begins their turn."""

PYTHON_TAG = "<|python_tag|>"
"""Llama 3: JSON, or `name.call(…)`, to the end of the reply; or JSON without it."""
LLAMA_STOPS = ("<|eom_id|>",)
