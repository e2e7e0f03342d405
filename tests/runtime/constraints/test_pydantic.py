"""Every reply to a Pydantic class is one that Pydantic takes, or the class is refused before the first token."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import ipaddress
import pathlib
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Generic, Literal, NamedTuple, Optional, TypeVar

import pydantic
import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict, Discriminator, Field, RootModel, Tag
from random_schemas import Walker

from edgelm.errors import EdgeLMError, OptionError, UnsupportedError
from edgelm.runtime.constraints.grammar import Grammar

WALKER = Walker()
T = TypeVar("T")


class Plain(enum.Enum):
    RED = "r"
    GREEN = "g"


class Word(enum.StrEnum):
    RED = "r"
    GREEN = "g"


class Box(BaseModel, Generic[T]):
    item: T
    more: list[T] = []


class Node(BaseModel):
    value: int
    next: Optional[Node] = None  # noqa: UP045 - as many write it


class Lion(BaseModel):
    kind: Literal["cat"] = "cat"
    sub: Literal["lion"] = "lion"


class Puma(BaseModel):
    kind: Literal["cat"] = "cat"
    sub: Literal["puma"] = "puma"


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    name: str = ""


class ByWord(BaseModel):
    kind: Literal[Word.RED] = Word.RED


class ByOther(BaseModel):
    kind: Literal[Word.GREEN] = Word.GREEN


class ByPlain(BaseModel):
    kind: Literal[Plain.RED] = Plain.RED


class ByPlainToo(BaseModel):
    kind: Literal[Plain.GREEN] = Plain.GREEN


def tag_of(value: Any) -> str:
    return str(value.get("kind", "cat") if isinstance(value, dict) else value.kind)


Cat = Annotated[Lion | Puma, Field(discriminator="sub")]


class Point(NamedTuple):
    x: int
    y: str = "a"


@dataclasses.dataclass
class Data:
    x: int
    y: str = "a"


FIELDS: dict[str, Any] = {
    "decimal": decimal.Decimal,
    "money": Annotated[decimal.Decimal, Field(max_digits=5, decimal_places=2)],
    "whole decimal": Annotated[decimal.Decimal, Field(max_digits=3, decimal_places=0, ge=0)],
    "finite": pydantic.FiniteFloat,
    "bytes": bytes,
    "short bytes": Annotated[bytes, Field(min_length=1, max_length=4)],
    "base64 bytes": pydantic.Base64Bytes,
    "base64 text": pydantic.Base64Str,
    "secret": pydantic.SecretStr,
    "path": pathlib.Path,
    "url": pydantic.HttpUrl,
    "database": pydantic.PostgresDsn,
    "uuid": uuid.UUID,
    "address": ipaddress.IPv4Address,
    "network": ipaddress.IPv4Network,
    "network6": ipaddress.IPv6Network,
    "interface": ipaddress.IPv6Interface,
    "datetime": datetime.datetime,
    "naive": pydantic.NaiveDatetime,
    "aware": pydantic.AwareDatetime,
    "past": pydantic.PastDate,
    "future": pydantic.FutureDatetime,
    "bounded date": Annotated[datetime.date, Field(ge=datetime.date(2019, 5, 1), lt=datetime.date(2024, 1, 1))],
    "timedelta": datetime.timedelta,
    "complex": complex,
    "set": set[int],
    "frozenset": frozenset[str],
    "by number": dict[int, str],
    "by float": dict[float, int],
    "by flag": dict[bool, int],
    "by enum": dict[Plain, int],
    "by literal": dict[Literal["a", "b"], int],
    "by pattern": dict[Annotated[str, Field(pattern="^x-")], int],
    "by date": dict[datetime.date, int],
    "by uuid": dict[uuid.UUID, int],
    "by moment": dict[datetime.datetime, int],
    "large": Annotated[int, Field(ge=0, le=2**63 - 1)],
    "optional": int | None,
    "generic": Box[Box[Plain]],
    "recursive": Node,
    "tuple": Point,
    "dataclass": Data,
    "nested tags": Annotated[Cat | Dog, Field(discriminator="kind")],
    "tags of an enum": Annotated[ByWord | ByOther, Field(discriminator="kind")],
    "by a function": Annotated[
        Annotated[Lion, Tag("cat")] | Annotated[Dog, Tag("dog")], Discriminator(tag_of)
    ],
    "list of tagged": list[Annotated[Cat | Dog, Field(discriminator="kind")]],
}  # fmt: skip


def replies(model: type[BaseModel], count: int = 25) -> list[str]:
    grammar = Grammar.from_schema(model)
    found = [said for seed in range(count) if (said := WALKER.write(grammar, seed, 800)) is not None]
    assert len(found) > count // 2
    return [said for said in found if grammar.parse(said) is not None]


@pytest.mark.parametrize("name", FIELDS)
def test_pydantic_takes_every_reply(name: str) -> None:
    model = pydantic.create_model("Reply", value=(FIELDS[name], ...))
    replies(model)


@pytest.mark.slow
def test_so_it_does_of_other_kinds_of_classes() -> None:
    class Strict(BaseModel):
        model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
        when: datetime.date
        share: float

    class Encoded(BaseModel):
        model_config = ConfigDict(val_json_bytes="base64", ser_json_bytes="base64")
        data: bytes

    for model in (Strict, Encoded, RootModel[dict[int, str]], Box[int]):
        replies(model)


@pytest.mark.parametrize(
    ("kind", "error", "said"),
    [
        (Callable[[int], int], OptionError, "has no JSON schema"),
        (pydantic.Json[list[int]], UnsupportedError, "JSON inside text"),
        (type[int], UnsupportedError, "a field whose value is a class"),
        (pydantic.FilePath, UnsupportedError, "'file-path' at #/properties/value"),
        (Annotated[set[int], Field(min_length=2)], UnsupportedError, "'uniqueItems'"),
        (Annotated[ByPlain | ByPlainToo, Field(discriminator="kind")], UnsupportedError, "Plain.RED"),
    ],
)
def test_what_has_no_text_is_refused_by_name(kind: Any, error: type[EdgeLMError], said: str) -> None:
    with pytest.raises(error, match=said.replace("(", "[(]")):
        Grammar.from_schema(pydantic.create_model("Reply", value=(kind, ...)))


NAMES: list[dict[str, Any]] = [
    {"propertyNames": {"enum": ["a", "b"]}, "additionalProperties": {"type": "integer"}},
    {"propertyNames": {"pattern": "^[a-c]{1,2}$"}, "additionalProperties": {"type": "boolean"}},
    {"propertyNames": {"$ref": "#/$defs/n"}, "$defs": {"n": {"const": "only"}}},
    {"propertyNames": {"type": "string"}, "additionalProperties": {"type": "null"}},
    {"propertyNames": {"format": "date"}, "additionalProperties": {"type": "integer"}},
    {"propertyNames": True, "additionalProperties": {"type": "integer"}},
]


@pytest.mark.parametrize("schema", NAMES)
def test_names_of_properties_are_held_to_their_schema(schema: dict[str, Any]) -> None:
    schema = {"type": "object", **schema}
    grammar = Grammar.from_schema(schema)
    validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    found = [said for seed in range(40) if (said := WALKER.write(grammar, seed, 600)) is not None]
    assert any(said != "{}" for said in found)
    for said in found:
        validator.validate(grammar.parse(said))


def test_names_beside_listed_properties_are_refused() -> None:
    schema = {"type": "object", "properties": {"a": {}}, "propertyNames": {"pattern": "^a"}}
    with pytest.raises(UnsupportedError, match="'propertyNames' at #"):
        Grammar.from_schema(schema)


@pytest.mark.parametrize("name", ["binary", "password", "path", "html"])
def test_a_format_of_any_text_is_a_note(name: str) -> None:
    assert WALKER.write(Grammar.from_schema({"type": "string", "format": name, "maxLength": 3}), 1, 50)


@pytest.mark.parametrize(
    ("name", "near"),
    [("datetime", "date-time"), ("date_time", "date-time"), ("Email", "email"), ("uuid4", "uuid")],
)
def test_a_misspelt_format_is_refused(name: str, near: str) -> None:
    with pytest.raises(UnsupportedError, match=f"'{name}' at # is none") as caught:
        Grammar.from_schema({"type": "string", "format": name})
    assert caught.value.hint == f"did you mean {near}?"


def test_references_may_be_escaped_and_counts_beyond_any_reply() -> None:
    schema = {"$ref": "#/$defs/a%20b~1c", "$defs": {"a b/c": {"type": "string", "maxLength": 10**12}}}
    assert WALKER.write(Grammar.from_schema(schema), 3, 200)


@pytest.mark.parametrize("schema", [{"const": "a\0b"}, {"enum": ["x", {"k": ["\0"]}]}])
def test_a_nul_that_would_be_left_out_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match="holds a NUL"):
        Grammar.from_schema(schema)


def test_a_text_that_spells_a_nul_is_none() -> None:
    assert WALKER.write(Grammar.from_schema({"const": "\\u0000"}), 1, 50) == r'"\\u0000"'


def test_bounds_beyond_what_is_counted_are_drawn_in() -> None:
    wide = {"type": "integer", "minimum": -(2**63), "maximum": 2**64 - 1}
    for seed in range(20):
        assert abs(int(str(WALKER.write(Grammar.from_schema(wide), seed, 60)))) <= 2**53
    for schema in ({"minimum": 2**60}, {"const": 10**400}, {"maximum": -(10**400)}, {"multipleOf": 10**400}):
        with pytest.raises(UnsupportedError, match="expected numbers up to 2"):
            Grammar.from_schema(schema)
