"""Unions: recursive ones, tagged ones as Pydantic writes them, and cases that are told apart by what they may be."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field
from random_schemas import Walker

from edgelm.errors import OptionError, UnsupportedError
from edgelm.runtime.constraints.grammar import Grammar

WALKER = Walker()
SMALLEST = {"type": "array", "maxItems": 2, "items": {"oneOf": [{"type": "integer"}, {"$ref": "#"}]}}


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog", "wolf"] = "dog"
    name: str


class Zoo(BaseModel):
    best: Annotated[Cat | Dog, Field(discriminator="kind")]
    pets: list[Annotated[Cat | Dog, Field(discriminator="kind")]]


class Number(BaseModel):
    op: Literal["number"] = "number"
    value: float


class Sum(BaseModel):
    op: Literal["sum"] = "sum"
    left: Expression
    right: Expression


type_of_expression = Annotated[Number | Sum, Field(discriminator="op")]
Expression = type_of_expression
Sum.model_rebuild()


class Formula(BaseModel):
    formula: Expression


def written(schema: Any, count: int = 40) -> list[str]:
    grammar = Grammar.from_schema(schema)
    return [said for seed in range(count) if (said := WALKER.write(grammar, seed, 1500)) is not None]


def test_a_recursive_one_of_is_followed_to_its_end() -> None:
    replies = written(SMALLEST)
    assert any("[[" in said for said in replies)
    assert any(said in ("[]", "[[]]") for said in replies)
    looped = {"$defs": {"one": {"oneOf": [{"$ref": "#/$defs/one"}, {"type": "null"}]}}, "$ref": "#/$defs/one"}
    assert set(written({**looped, "$defs": {"one": {"anyOf": looped["$defs"]["one"]["oneOf"]}}})) == {"null"}  # type: ignore[index]


@pytest.mark.slow
@pytest.mark.parametrize("model", [Zoo, Formula])
def test_every_reply_of_a_tagged_union_is_parsed(model: type[BaseModel]) -> None:
    grammar = Grammar.from_schema(model)
    replies = written(model)
    assert len(replies) > 20
    for said in replies:
        assert isinstance(grammar.parse(said), model)


@pytest.mark.parametrize(
    "cases",
    [
        [{"type": "integer", "minimum": 0}, {"type": "integer", "maximum": -1}],
        [{"type": "string", "maxLength": 2}, {"type": "string", "minLength": 3}],
        [{"enum": ["a", 1]}, {"const": "b"}, {"type": "object"}],
        [{"type": "array", "maxItems": 1}, {"type": "array", "minItems": 2}],
        [{"type": "array", "prefixItems": [{"const": 1}], "minItems": 1}, {"type": "array", "items": {"type": "string"}}],
        [
            {"properties": {"a": {"const": 1}}, "required": ["a"], "type": "object"},
            {"type": "object", "properties": {"a": {"const": 2}}},
        ],
        [True, False],
    ],
)  # fmt: skip
def test_cases_that_exclude_each_other_are_enforced(cases: list[Any]) -> None:
    assert written({"oneOf": cases}, 5)


@pytest.mark.parametrize(
    "cases",
    [
        [{"type": "number"}, {"type": "integer"}],
        [{"type": "object"}, {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}],
        [{"const": 1}, {"const": 1.0}],
        [{"minimum": 1}, {"maximum": 0}],
        [{"type": "string", "pattern": "a"}, {"type": "string", "pattern": "b"}],
        [True, {"type": "null"}],
    ],
)
def test_cases_that_overlap_are_refused(cases: list[Any]) -> None:
    with pytest.raises(UnsupportedError, match="at #/properties/p cannot be enforced: its oneOf"):
        Grammar.from_schema({"type": "object", "properties": {"p": {"oneOf": cases}}, "required": ["p"]})


@pytest.mark.parametrize(
    ("names", "pattern", "more"),
    [
        (["ab"], "^ab$", {}),
        (["a", "c"], "^(a|c)$", {"required": ["a", "c"]}),
        ([], "^x$", {"required": ["x"]}),
        (["ab"], "^ab$", {"additionalProperties": {"type": "integer"}}),
    ],
)
def test_a_pattern_of_listed_names_alone_is_refused_beforehand(
    names: list[str], pattern: str, more: dict[str, Any]
) -> None:
    schema = {"type": "object", "properties": {name: {"type": "integer"} for name in names}, **more}
    with pytest.raises(UnsupportedError, match="matches only listed properties"):
        Grammar.from_schema({**schema, "patternProperties": {pattern: {"type": "integer"}}})


def test_a_pattern_that_matches_a_listed_property_among_others_holds_for_both() -> None:
    schema = {
        "type": "object",
        "properties": {"ab": {"type": "integer"}},
        "required": ["ab"],
        "additionalProperties": False,
    }
    assert written({**schema, "patternProperties": {"^a": {"maximum": 5}}}, 10)


@pytest.mark.parametrize(
    ("schema", "kind", "said"),
    [
        ({"const": 2**60 + 1}, UnsupportedError, "const at # holds 1152921504606846977"),
        ({"enum": ["a", {"b": [1e300]}]}, UnsupportedError, "enum at # holds 1e"),
        ({"type": "integer", "minimum": 10**30}, UnsupportedError, "minimum at # holds"),
        (
            {"type": "array", "minItems": 10**9},
            OptionError,
            "minItems at # is 1,000,000,000, expected at most",
        ),
        ({"type": "string", "maxLength": -1}, OptionError, "maxLength at # is -1"),
        ({"type": "string", "maxLength": True}, OptionError, "maxLength at # is True"),
        ({"type": "number", "multipleOf": -2}, OptionError, "multipleOf at # is -2"),
        ({"type": "number", "minimum": "a"}, OptionError, "minimum at # is 'a'"),
    ],
)
def test_values_that_a_keyword_cannot_have(schema: dict[str, Any], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        Grammar.from_schema(schema)


def test_a_schema_nested_too_deep_is_named() -> None:
    deep: dict[str, Any] = {"type": "null"}
    for _ in range(5000):
        deep = {"type": "array", "items": deep}
    with pytest.raises(OptionError, match=r"nested deeper|what JSON cannot"):
        Grammar.from_schema(deep)


def test_whole_numbers_may_be_written_as_floats_and_dates_are_ones_that_python_has() -> None:
    assert all(len(said) <= 5 for said in written({"type": "string", "maxLength": 3.0}, 10) if said.isascii())
    assert all(said[1] in "12" for said in written({"type": "string", "format": "date"}, 10))
