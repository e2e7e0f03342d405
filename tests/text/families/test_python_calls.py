"""Calls written as Python: LFM2's JSON, parameters named by keywords, indented lines, and numbers that overflow."""

from __future__ import annotations

from typing import Any

import pytest

from edgelm.text.families.python_calls import read_python_calls
from edgelm.text.families.tagged_calls import read_xml_calls
from edgelm.text.segments import parse_tool_calls


def call(name: str = "f", **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ('[f(from="x", class=1)]', [call(**{"from": "x", "class": 1})]),
        ('[f(a="from=1", in = 2)]', [call(a="from=1", **{"in": 2})]),
        ('[f(a="it is \\"from=1\\"")]', [call(a='it is "from=1"')]),
        ('{"name": "f", "arguments": {"a": 1}}', [call(a=1)]),
        ('[{"name": "f", "arguments": {"a": null}}]', [call(a=None)]),
        ("  f(a=1)\n  g(b=True)", [call(a=1), call("g", b=True)]),
    ],
)
def test_what_models_write(text: str, calls: list[dict[str, Any]]) -> None:
    assert read_python_calls(text) == calls


@pytest.mark.parametrize("text", ["[f(a=1, a=2)]", "[f(**x)]", "[f(from=g())]", '[{"name": 5}]'])
def test_what_is_no_call(text: str) -> None:
    with pytest.raises((ValueError, SyntaxError)):
        read_python_calls(text)


def test_a_number_beyond_a_float_is_a_call_that_cannot_be_read() -> None:
    tools = [{"name": "f", "parameters": {"type": "object", "properties": {"n": {"type": "number"}}}}]
    text = "<function=f>\n<parameter=n>\n1e999\n</parameter>\n</function>"
    (found,) = parse_tool_calls(read_xml_calls, text, tools)
    assert found.error is not None
    assert found.text == text
