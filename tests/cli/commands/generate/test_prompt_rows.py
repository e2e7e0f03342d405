"""A file of prompts: what can be asked, and what is wrong with the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgelm.cli.commands.generate.prompt_rows import Wrapping, read_rows

HI = [{"role": "user", "content": "hi"}]


def lines(*rows: Any) -> str:
    return "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)


def test_rows_keep_their_ids_settings_and_meta() -> None:
    text = lines(
        {"id": "a", "prompt": "x", "seed": 3, "meta": {"k": [1]}}, "", {"messages": HI}, {"prompt": [1, 2]}
    )
    rows, bad = read_rows(text + "\n", Wrapping())
    assert bad == []
    assert [(row.line, row.id, row.prompt, row.meta) for row in rows] == [
        (1, "a", {"prompt": "x", "seed": 3}, {"k": [1]}),
        (3, 3, {"messages": HI}, None),
        (4, 4, {"prompt": [1, 2]}, None),
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{", "not JSON: Expecting property name"),
        ("[1]", "a JSON list, expected an object"),
        ({}, "neither prompt nor messages"),
        ('{"prompt": "x", "prompt": "y"}', "it names 'prompt' twice"),
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": []}, "the prompt is empty"),
        ({"prompt": "x", "messages": HI}, "both prompt and messages"),
        ({"promt": "x"}, "no setting 'promt'; did you mean prompt"),
        ({"prompt": "x", "category": 7}, 'data of your own goes under "meta"'),
        ({"prompt": 7}, "expected text, token ids or messages"),
        ({"prompt": [1, "x"]}, "holds 'x'"),
        ({"prompt": [1, True]}, "holds True"),
        ({"messages": [{"content": "x"}]}, "expected a role and a content"),
        ({"prompt": "x", "temperature": -1}, "temperature is -1"),
        ({"prompt": "x", "max_tokens": 0}, "max_tokens is 0"),
        ({"prompt": "x", "stop": [""]}, "stop string is empty"),
        ({"prompt": "x", "enable_thinking": 1}, "enable_thinking is 1"),
        ({"prompt": "x", "tools": 7}, "tools is 7"),
        ({"prompt": "x", "tools": [7]}, "tool"),
        ({"prompt": "x", "schema": {"type": "nonsense"}}, "nonsense"),
        ({"prompt": "x", "id": 1.5}, "id is 1.5"),
        ({"prompt": "x", "id": True}, "id is True"),
        ('{"prompt": "x", "meta": NaN}', "NaN, which is not JSON"),
        ('{"prompt": "\\ud800"}', "surrogate pair"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_bad_rows_are_named_with_their_line(row: Any, reason: str) -> None:
    rows, bad = read_rows(lines({"prompt": "good"}, "", row), Wrapping())
    assert len(rows) == 1
    (found,) = bad
    assert found.line == 3
    assert reason in found.reason


def test_an_id_belongs_to_one_row() -> None:
    rows, bad = read_rows(
        lines({"id": 2, "prompt": "x"}, {"prompt": "y"}, {"id": "2", "prompt": "z"}), Wrapping()
    )
    assert [row.id for row in rows] == [2, "2"]
    assert bad[0].reason == "id 2 is that of line 1 too"


def test_prompts_become_messages() -> None:
    system = [{"role": "system", "content": "own"}, *HI]
    text = lines({"prompt": "hi", "seed": 1}, {"messages": HI}, {"messages": system})
    rows, _ = read_rows(text, Wrapping(chat=True, system="Be brief."))
    brief = [{"role": "system", "content": "Be brief."}, *HI]
    assert [row.prompt for row in rows] == [
        {"seed": 1, "messages": brief},
        {"messages": brief},
        {"messages": system},
    ]
    _, bad = read_rows(text, Wrapping(system="Be brief."))
    assert [row.line for row in bad] == [1]


def test_a_digest_is_of_what_is_asked() -> None:
    rows, _ = read_rows(
        lines(
            {"id": 1, "prompt": "x", "seed": 1, "meta": 1},
            {"seed": 1, "prompt": "x"},
            {"prompt": "x", "seed": 2},
        ),
        Wrapping(),
    )
    first, same, other = (row.digest for row in rows)
    assert first == same != other


def test_one_array_is_its_items() -> None:
    items = [{"id": "a", "prompt": "x"}, {"messages": "hi"}, {"prompt": "y"}]
    for indent in (None, 2):
        rows, bad = read_rows(json.dumps(items, indent=indent), Wrapping())
        assert [(row.line, row.id) for row in rows] == [(1, "a"), (3, 3)]
        assert [(row.line, row.reason) for row in bad] == [(2, "messages: 'hi', expected a list")]


def test_parts_and_calls_without_content_can_be_asked() -> None:
    call = {"function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": "1"},
    ]
    rows, bad = read_rows(json.dumps({"messages": messages}), Wrapping())
    assert (len(rows), bad) == (1, [])
