"""What of JSON Schema is enforced, what is refused and how it is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft4Validator, Draft7Validator, Draft202012Validator
from jsonschema_specifications import REGISTRY

from edgelm.errors import OptionError, UnsupportedError
from edgelm.runtime.constraints.grammar import Grammar
from edgelm.runtime.constraints.matcher import Matching
from edgelm.runtime.constraints.schema import prepare as schemas
from edgelm.runtime.constraints.schema.recursion import DEPTH

Match = Callable[..., Matching]
Spell = Callable[[str], list[int]]


def accepts(schema: Any, text: str, match: Match, spell: Spell) -> bool:
    """Whether `text` is a whole reply by `schema`."""
    constraint = match(Grammar.from_schema(schema))
    for token in spell(text):
        if not constraint.allowed()[0, token].item():
            return False
        constraint.accept(token)
    return bool(constraint.allowed()[0, spell("<end>")[0]].item())


def keywords_of_every_draft() -> set[str]:
    found: set[str] = set()
    for uri in REGISTRY:
        if "draft-03" in uri:  # whose own words are refused as no keywords
            continue
        contents = REGISTRY.contents(uri)
        found |= set(contents.get("properties", {}))
    assert {"unevaluatedItems", "dependentSchemas", "contains"} <= found
    return found


def test_every_keyword_of_every_draft_is_enforced_an_annotation_or_refused() -> None:
    enforced, annotations, refused = schemas._ENFORCED, schemas._ANNOTATIONS, set(schemas._REFUSED)
    unknown = keywords_of_every_draft() - enforced - annotations - refused
    assert not unknown
    assert not enforced & refused
    assert not annotations & (refused | enforced)


@pytest.mark.parametrize("keyword", sorted(schemas._REFUSED.keys() - {"propertyNames"}))
def test_a_keyword_that_cannot_be_enforced_is_named_with_its_place(keyword: str) -> None:
    schema = {"type": "object", "properties": {"a/b": {"items": {"anyOf": [{}, {keyword: True}]}}}}
    with pytest.raises(
        UnsupportedError, match=f"'{keyword.replace('$', '[$]')}' at #/properties/a/b/items/anyOf/1"
    ):
        Grammar.from_schema(schema)


def test_a_misspelt_keyword_is_not_passed_over() -> None:
    with pytest.raises(UnsupportedError, match="'maxlenght' at #/properties/name") as caught:
        Grammar.from_schema({"type": "object", "properties": {"name": {"type": "string", "maxlenght": 3}}})
    assert caught.value.hint == "did you mean maxLength?"
    Grammar.from_schema({"type": "string", "x-note": "ours"})


def test_refusals_follow_references_and_leave_unused_definitions_alone() -> None:
    unused = {"$defs": {"bad": {"not": {}}}, "type": "null"}
    assert Grammar.from_schema(unused)
    with pytest.raises(UnsupportedError, match=r"'not' at #/[$]defs/bad"):
        Grammar.from_schema({**unused, "anyOf": [{"$ref": "#/$defs/bad"}, {"type": "null"}]})


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"type": "string", "format": "iban"}, "at #/properties/p cannot be enforced: Unknown format: iban"),
        ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
        (
            {"oneOf": [{"type": "number"}, {"type": "integer"}]},
            "at #/properties/p cannot be enforced: its oneOf",
        ),
        ({"$ref": "https://example.com/schema"}, "expected a place in the same schema"),
        ({"type": "object", "minProperties": 2}, "minProperties at #/properties/p is 2"),
    ],
)
def test_what_the_compiler_cannot_do_is_named_with_its_place(part: dict[str, Any], said: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        Grammar.from_schema({"type": "object", "properties": {"p": part}, "required": ["p"]})
    assert said in caught.value.message


def test_a_sound_one_of_is_not_blamed_for_another() -> None:
    def case(kind: str) -> dict[str, Any]:
        return {"type": "object", "properties": {"kind": {"const": kind}}, "required": ["kind"]}

    sound = {"oneOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}]}
    wrong = {"oneOf": [{"type": "number"}, {"type": "integer"}]}
    schema = {"type": "object", "properties": {"x": {"items": sound}, "w": wrong}, "required": ["w"]}
    with pytest.raises(UnsupportedError, match="at #/properties/w cannot"):
        Grammar.from_schema({**schema, "$defs": {"a": case("a"), "b": case("b")}})


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (3, "expected a JSON Schema"),
        ("{", "not JSON"),
        ({"type": "text"}, "Invalid type"),
        ({"properties": []}, "expected an object of schemas"),
        ({"anyOf": {}}, "expected a list of schemas"),
        ({"items": 3}, "expected an object, true or false"),
        ({"enum": []}, "at # cannot be enforced"),
        ({"type": "integer", "minimum": 5, "maximum": 3}, "minimum"),
        ({"$ref": "#/$defs/none"}, "not in the schema"),
        ({"const": {1, 2}}, "what JSON cannot"),
        ({"$ref": "#"}, "nothing finite"),
        ({"type": "array", "items": {"$ref": "#"}, "minItems": 1}, "nothing finite"),
        ({"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]}, "nothing finite"),
        ({"type": "object", "required": ["a"], "additionalProperties": False}, "nothing finite"),
    ],
)
def test_a_schema_that_is_none_or_that_nothing_matches_is_refused(schema: Any, said: str) -> None:
    with pytest.raises(OptionError) as caught:
        Grammar.from_schema(schema)
    assert said in caught.value.message


def test_an_object_gets_the_properties_it_lists(match: Match, spell: Spell) -> None:
    listed = {"type": "object", "properties": {"a": {"type": "null"}}}
    assert accepts(listed, '{"a": null}', match, spell)
    assert accepts(listed, "{}", match, spell)
    assert not accepts(listed, '{"b": null}', match, spell)
    assert accepts({**listed, "additionalProperties": True}, '{"b": null}', match, spell)
    assert accepts({"type": "object"}, '{"b": null}', match, spell)
    assert accepts({**listed, "required": ["b"]}, '{"a": null, "b": 1}', match, spell)


def test_objects_that_are_merged_are_not_closed_against_each_other(match: Match, spell: Spell) -> None:
    merged = {"allOf": [{"$ref": "#/$defs/a"}, {"properties": {"b": {"type": "null"}}, "required": ["b"]}]}
    schema = {
        **merged,
        "$defs": {"a": {"type": "object", "properties": {"a": {"type": "null"}}, "required": ["a"]}},
    }
    assert accepts(schema, '{"a": null, "b": null}', match, spell)


def test_an_escaped_name_does_not_slip_past_its_schema(match: Match, spell: Spell) -> None:
    """llguidance 1.9 takes "\\u0061" for a name of its own, though it is "a"."""
    schema = {
        "type": "object",
        "properties": {"a": {"type": "null"}},
        "additionalProperties": {"type": "string"},
    }
    assert accepts(schema, '{"b": "x"}', match, spell)
    assert not accepts(schema, '{"\\u0061": "x"}', match, spell)
    assert not accepts(schema, '{"a": "x"}', match, spell)


def test_one_of_tells_referenced_objects_apart(match: Match, spell: Spell) -> None:
    def case(kind: str) -> dict[str, Any]:
        return {"type": "object", "properties": {"kind": {"const": kind}}, "required": ["kind"]}

    schema = {
        "oneOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}],
        "$defs": {"a": case("a"), "b": case("b")},
    }
    assert accepts(schema, '{"kind": "b"}', match, spell)
    assert not accepts(schema, '{"kind": "c"}', match, spell)


RECURSIVE = {
    "itself": {"type": "object", "properties": {"enum": {"$ref": "#"}, "$ref": {"type": "null"}}},
    "a list": {"type": "array", "items": {"$ref": "#"}},
    "through another that must go on": {
        "$ref": "#/$defs/m",
        "$defs": {
            "n": {"type": "object", "properties": {"x": {"$ref": "#/$defs/m"}}, "required": ["x"]},
            "m": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]},
        },
    },
}
DEEP = {
    "itself": ('{"enum": ', '{"$ref": null}', "}"),
    "a list": ("[", "[]", "]"),
    "through another that must go on": ('{"x": ', "null", "}"),
}


@pytest.mark.parametrize("name", RECURSIVE)
def test_a_recursion_goes_deep_and_has_an_end(name: str, match: Match, spell: Spell) -> None:
    opening, inner, closing = DEEP[name]
    fits = [accepts(RECURSIVE[name], opening * n + inner + closing * n, match, spell) for n in range(20)]
    deepest = fits.index(False)
    assert 5 <= deepest <= DEPTH + 1
    assert not any(fits[deepest:])


def test_a_schemas_own_style_may_not_make_it_lenient() -> None:
    with pytest.raises(UnsupportedError, match="Unknown format"):
        Grammar.from_schema({"type": "string", "format": "iban", "x-guidance": {"lenient": True}})


def test_true_is_any_json(match: Match, spell: Spell) -> None:
    assert accepts(True, json.dumps({"a": [1, None, "x"]}), match, spell)


@pytest.mark.parametrize("judge", [Draft4Validator, Draft7Validator, Draft202012Validator])
def test_exclusive_bounds_of_every_draft(judge: Any, match: Match, spell: Spell) -> None:
    old = judge is Draft4Validator
    schema = {"type": "integer", "minimum": 1, "maximum": 9, "exclusiveMinimum": True if old else 1}
    for number in range(11):
        assert accepts(schema, str(number), match, spell) == judge(schema).is_valid(number)
