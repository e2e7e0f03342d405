"""Calls whose names stand between marks: Mistral, DeepSeek, Kimi, and what follows `<tool_call>` in any of its dialects.

Each reader takes all that stands between the family's outer marks and raises `ValueError` for what is no call.
"""

from __future__ import annotations

import json
import re
from typing import Any

from edgelm.text.families.json_calls import Call, Tools, as_call, calls_in, read_json_calls

_DECODER = json.JSONDecoder(strict=False)
_MISTRAL_BEGIN = re.compile(r"\s*(?:\[TOOL_CALLS\]|,)?\s*")
_MISTRAL = re.compile(r"([^\[\]{}\s]+)\s*(?:\[CALL_ID\]\s*([^\[\]{}\s]*)\s*)?(?:\[ARGS\]\s*)?(?=\{)")
_DEEPSEEK = re.compile(
    r"\s*<｜tool▁call▁begin｜>(?:function<｜tool▁sep｜>\s*([^\n]+?)\s*\n|\s*([^\n<]+?)\s*<｜tool▁sep｜>)"
    r"\s*(.*?)\s*(?:<｜tool▁call▁end｜>|\Z)",
    re.DOTALL,
)
_DSML_CALL = re.compile(r"\s*<｜DSML｜invoke name=\"([^\"]+)\">(.*?)</｜DSML｜invoke>", re.DOTALL)
_DSML_VALUE = re.compile(
    r"\s*<｜DSML｜parameter name=\"([^\"]+)\"(?: string=\"(true|false)\")?>(.*?)</｜DSML｜parameter>",
    re.DOTALL,
)
_KIMI = re.compile(
    r"\s*(?:<\|tool_call_begin\|>)?\s*((?:functions\.)?([^\s<]+?)(?::\d+)?)\s*<\|tool_call_argument_begin\|>"
    r"\s*(.*?)\s*(?:<\|tool_call_end\|>|\Z)",
    re.DOTALL,
)
_FUNCTION = re.compile(r"\s*<function=(.*?)</function>", re.DOTALL)
_AGAIN = re.compile(r"\s*</?(?:seed:)?tool_call>")


def read_mistral_calls(text: str, tools: Tools = None) -> list[Call]:
    """Read `[{…}]`, `name{…}`, `name[ARGS]{…}`, `name[CALL_ID]id[ARGS]{…}`, several in a row, `[TOOL_CALLS]` between them.

    Source: mistral-common's tokenizers v3 (JSON), v11 (`[CALL_ID]`) and v13 (without an id).

    Raises:
        ValueError: something else.
    """
    calls, at = [], 0
    while text[at:].strip():
        begin = _MISTRAL_BEGIN.match(text, at)
        at = begin.end() if begin else at
        if text[at : at + 1] in ("[", "{"):
            value, at = _DECODER.raw_decode(text, at)
            calls += calls_in(value)
            continue
        head = _MISTRAL.match(text, at)
        if head is None:
            raise ValueError(f"{text[at : at + 40]!r} is no call")
        arguments, at = _DECODER.raw_decode(text, head.end())
        calls.append(as_call(head[1], arguments, head[2]))
    if not calls:
        raise ValueError("there is no call")
    return calls


def read_deepseek_calls(text: str, tools: Tools = None) -> list[Call]:
    """Read R1's and V3's `function<sep>name` with fenced JSON, V3.1's `name<sep>{…}`, V3.2's `<｜DSML｜invoke …>`.

    Raises:
        ValueError: something else.
    """
    if "｜DSML｜" in text:
        return _each(text, _DSML_CALL, lambda match: as_call(match[1], _dsml_arguments(match[2])))
    return _each(text, _DEEPSEEK, lambda match: as_call(match[1] or match[2], _fenced(match[3])))


def read_kimi_calls(text: str, tools: Tools = None) -> list[Call]:
    """Read `<|tool_call_begin|>functions.name:0<|tool_call_argument_begin|>{…}<|tool_call_end|>`, several in a row.

    Raises:
        ValueError: something else.
    """
    return _each(text, _KIMI, lambda match: as_call(match[2], match[3], match[1]))


def read_tool_call(text: str, tools: Tools = None) -> list[Call]:
    """Read what stands between `<tool_call>` and its end: JSON, Qwen3-Coder's and Seed's XML, or GLM's `<arg_key>`.

    Raises:
        ValueError: something else.
    """
    if text.lstrip().startswith("<function="):
        return read_xml_calls(text, tools)
    if text.lstrip()[:1] in ("{", "["):
        return read_json_calls(text, tools)
    return _glm(text, tools)


def read_xml_calls(text: str, tools: Tools = None) -> list[Call]:
    """Read `<function=name><parameter=key>value</parameter>…</function>`, several in a row.

    Values typed by the tools' schemas.

    Raises:
        ValueError: something else.
    """
    from edgelm.zoo.tool_parsers import parse_xml_call

    # Seed's and Qwen's own marks may stand between the functions of one block.
    text = _AGAIN.sub("", text)
    if text.count("<parameter=") != text.count("</parameter>"):
        raise ValueError("a parameter does not end")
    return _each(text, _FUNCTION, lambda match: _as_parsed(parse_xml_call(match[0].strip(), _listed(tools))))


def _glm(text: str, tools: Tools) -> list[Call]:
    name = text.strip().partition("<arg_key>")[0].strip()
    if not re.fullmatch(r"[\w.:/-]+", name) or text.count("<arg_value>") != text.count("</arg_value>"):
        raise ValueError(f"{text.strip()[:40]!r} is no call")
    if "<arg_key>" not in text:
        return [as_call(name, {})]
    from edgelm.zoo.tool_parsers import parse_glm_call

    return [_as_parsed(parse_glm_call(text.strip(), _listed(tools)))]


def _as_parsed(parsed: Any) -> Call:
    return as_call(parsed["name"], parsed.get("arguments"))


def _listed(tools: Tools) -> list[dict[str, Any]] | None:
    """Return the tools as mlx-lm's readers take them: definitions inside `function`."""
    if not tools:
        return None
    return [
        dict(tool) if "function" in tool else {"type": "function", "function": dict(tool)} for tool in tools
    ]


def _dsml_arguments(text: str) -> dict[str, Any]:
    def value(match: re.Match[str]) -> tuple[str, Any]:
        return match[1], match[3] if match[2] == "true" else json.loads(match[3], strict=False)

    return dict(_each(text, _DSML_VALUE, value, may_lack=True))


def _fenced(text: str) -> str:
    fence = re.fullmatch(r"```(?:json)?\s*(.*?)\s*```", text, re.DOTALL)
    return fence[1] if fence else text


def _each(text: str, pattern: re.Pattern[str], read: Any, *, may_lack: bool = False) -> list[Any]:
    """What `read` makes of every match; between matches stands nothing."""
    results, at = [], 0
    while text[at:].strip():
        match = pattern.match(text, at)
        if match is None or match.end() == at:
            raise ValueError(f"{text[at:].strip()[:40]!r} is no call")
        results.append(read(match))
        at = match.end()
    if not results and not may_lack:
        raise ValueError("there is no call")
    return results
