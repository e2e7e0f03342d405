"""Grammars as values: built of a schema, a regex, Lark's syntax or a Pydantic model, and read back as data."""

from __future__ import annotations

from typing import Any

import pytest

from edgelm.errors import FormatError, OptionError
from edgelm.runtime.constraints.grammar import Grammar, grammar_of
from edgelm.runtime.events import Usage
from edgelm.runtime.generation.completion import Completion
from edgelm.runtime.generation.options import GenerationOptions

USAGE = Usage(1, 0, 2, 0.1, 0.1, 0.1, 0)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("[a", "unclosed character class"),
        ("(?=a)b", "look-around"),
        (r"(a)\1", "backreferences"),
        ("", "expected text"),
    ],
)
def test_a_bad_regex_is_refused_in_one_line(pattern: str, said: str) -> None:
    with pytest.raises(OptionError) as caught:
        Grammar.from_regex(pattern)
    assert said in caught.value.message
    assert "\n" not in caught.value.message


def test_a_bad_grammar_is_refused_with_its_line() -> None:
    with pytest.raises(OptionError, match=r'at 2\(4\): unknown name: "c"'):
        Grammar.from_lark('start: "a" b\nb: c\n')
    with pytest.raises(OptionError, match="no start rule"):
        Grammar.from_lark('begin: "a"')


def test_one_form_at_a_time() -> None:
    assert grammar_of() is None
    with pytest.raises(OptionError, match="schema and regex are given"):
        grammar_of(schema=True, regex="a")
    same = Grammar.from_regex("a")
    assert grammar_of(grammar=same) is same


def test_settings_name_the_form() -> None:
    options = GenerationOptions().changed(schema={"type": "null"})
    assert options.grammar is not None
    assert options.grammar.kind == "schema"
    assert options.changed(regex="a+").grammar == Grammar.from_regex("a+")
    assert options.changed(grammar='start: "x"').grammar == Grammar.from_lark('start: "x"')
    assert options.changed(schema=None).grammar is None
    assert options.changed(max_tokens=3).grammar is options.grammar
    with pytest.raises(OptionError, match="expected Grammar"):
        GenerationOptions(grammar="start: x")  # type: ignore[arg-type]
    with pytest.raises(OptionError) as caught:
        options.changed(shema={})
    assert caught.value.hint == "did you mean schema?"


def completion(text: str, grammar: Grammar | None, **changes: Any) -> Completion:
    return Completion(**{"text": text, "reason": "stop", "usage": USAGE, "grammar": grammar, **changes})


def test_a_reply_is_parsed_by_its_schema() -> None:
    grammar = Grammar.from_schema({"type": "array"})
    assert completion("[1, null]", grammar).parsed == [1, None]
    with pytest.raises(FormatError, match="cut off at the token limit"):
        _ = completion("[1, nu", grammar, reason="length").parsed
    with pytest.raises(FormatError, match="cut off by the stop string 'u'"):
        _ = completion("[1, n", grammar, matched="u").parsed
    with pytest.raises(FormatError, match="cut off by its reader"):
        _ = completion("[1", grammar, reason="cancelled").parsed
    with pytest.raises(OptionError, match="no schema"):
        _ = completion("yes", Grammar.from_regex("yes")).parsed


def test_a_pydantic_model_is_a_schema_and_reads_the_reply() -> None:
    pydantic = pytest.importorskip("pydantic")

    class Pet(pydantic.BaseModel):  # type: ignore[misc, name-defined]
        name: str = pydantic.Field(max_length=8)
        age: int

    grammar = Grammar.from_schema(Pet)
    assert completion('{"name": "Rex", "age": 3}', grammar).parsed == Pet(name="Rex", age=3)
    with pytest.raises(FormatError, match="does not match its schema"):
        grammar.parse('{"name": "Rex"}')
