"""Functions as tools: what the model is told, what the function is given, what comes back as text."""

from __future__ import annotations

import datetime
import decimal
import enum
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import pydantic
import pytest

from edgelm.errors import FormatError, NotFoundError, OptionError
from edgelm.text.tools.docstring import parse_docstring
from edgelm.text.tools.load import load_tools
from edgelm.text.tools.tool import Tool, as_tool, as_tools


class Unit(enum.Enum):
    CELSIUS = "celsius"
    KELVIN = "kelvin"


@dataclass
class Place:
    city: str
    height_m: float = 0.0


class Range(TypedDict, total=False):
    first: int
    last: int


def forecast(
    place: Place,
    days: int,
    unit: Unit = Unit.CELSIUS,
    mode: Literal["short", "long"] = "short",
    tags: list[str] | None = None,
    limits: tuple[int, int] = (0, 9),
    note: Annotated[str, "shown to the user"] = "",
    extra: Mapping[str, float] | None = None,
    window: Range | None = None,
) -> str:
    """The forecast of a place.

    It is made by experts.

    Args:
        place: where,
            with its height.
        days (int): how many days.
        unit: of temperatures.

    Returns:
        Text.
    """
    return repr((place, days, unit, mode, tags, limits, note, extra, window))


def test_a_function_is_described_by_its_signature_and_docstring() -> None:
    definition = as_tool(forecast).definition
    assert definition["type"] == "function"
    described = definition["function"]
    assert (described["name"], described["description"]) == (
        "forecast",
        "The forecast of a place.\n\nIt is made by experts.",
    )
    parameters = described["parameters"]
    assert parameters["required"] == ["place", "days"]
    # Pydantic says more than JSON needs to be read by: the type of a choice, and defaults that are not plain values.
    assert parameters["properties"] == {
        "place": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "height_m": {"type": "number", "default": 0.0}},
            "required": ["city"],
            "description": "where, with its height.",
        },
        "days": {"type": "integer", "description": "how many days."},
        "unit": {
            "type": "string",
            "enum": ["celsius", "kelvin"],
            "default": "celsius",
            "description": "of temperatures.",
        },
        "mode": {"type": "string", "enum": ["short", "long"], "default": "short"},
        "tags": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]},
        "limits": {
            "type": "array",
            "prefixItems": [{"type": "integer"}, {"type": "integer"}],
            "minItems": 2,
            "maxItems": 2,
            "default": [0, 9],
        },
        "note": {"type": "string", "description": "shown to the user", "default": ""},
        "extra": {
            "anyOf": [{"type": "object", "additionalProperties": {"type": "number"}}, {"type": "null"}]
        },
        "window": {
            "anyOf": [
                {
                    "type": "object",
                    "properties": {"first": {"type": "integer"}, "last": {"type": "integer"}},
                },
                {"type": "null"},
            ]
        },
    }


def test_the_function_gets_pythons_values() -> None:
    given = {
        "place": {"city": "Nice", "height_m": 3},
        "days": 2.0,
        "unit": "kelvin",
        "tags": ["a"],
        "limits": [1, 2],
        "extra": {"x": 1},
        "window": {"last": 4},
    }
    output = as_tool(forecast).call(given)
    expected = forecast(
        Place("Nice", 3.0), 2, Unit.KELVIN, tags=["a"], limits=(1, 2), extra={"x": 1.0}, window={"last": 4}
    )
    assert (output.text, output.is_error) == (expected, False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"place": {"city": "Nice"}}, "forecast needs the argument 'days'"),
        (
            {"place": {"city": "Nice"}, "days": 1, "color": 2},
            "forecast has no argument 'color', only place, days",
        ),
        ({"place": {"city": "Nice"}, "days": "two"}, "days is 'two', expected integer"),
        ({"place": {"city": "Nice"}, "days": True}, "days is True, expected integer"),
        ({"place": {"town": "Nice"}, "days": 1}, "place has 'town', expected 'city', 'height_m'"),
        ({"place": "Nice", "days": 1}, "place is 'Nice', expected an object"),
        ({"place": {"city": "Nice"}, "days": 1, "unit": "rankine"}, "expected one of 'celsius', 'kelvin'"),
        ({"place": {"city": "Nice"}, "days": 1, "limits": [1]}, "limits has 1 items, expected 2"),
        # Not "or tags is [3], expected null" as well: where the value is a list, what the list lacks is the answer.
        ({"place": {"city": "Nice"}, "days": 1, "tags": [3]}, "tags[0] is 3, expected string"),
    ],
)
def test_wrong_arguments_are_told_to_the_model(arguments: dict[str, Any], said: str) -> None:
    output = as_tool(forecast).call(arguments)
    assert output.is_error
    assert output.text.startswith("error: ")
    assert said in output.text


class Team(pydantic.BaseModel):
    """People."""

    members: list[Place]
    since: datetime.date | None = None


def meet(
    team: Team,
    json: list[Range],
    _when: datetime.datetime,
    budget: decimal.Decimal | None = None,
    code: int | str = 0,
    at: Annotated[int, pydantic.Field(ge=0, le=23)] = 12,
    key: object = Unit,
) -> str:
    """Meet.

    Args:
        team: who comes.
    """
    return repr((team, json, _when, budget, code, at))


TEAM = {"members": [{"city": "Nice"}, {"city": "Rome", "height_m": 21}]}
NOON = "2026-01-02T12:00:00"


def test_classes_inside_classes_are_shown_whole() -> None:
    parameters = as_tool(meet).parameters
    assert "$ref" not in str(parameters)
    assert "title" not in str(parameters)
    place = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "height_m": {"type": "number", "default": 0.0}},
        "required": ["city"],
    }
    team = parameters["properties"]["team"]
    assert (team["description"], team["properties"]["members"]) == (
        "who comes.",
        {"type": "array", "items": place},
    )
    assert parameters["properties"]["_when"] == {"type": "string", "format": "date-time"}
    assert parameters["properties"]["at"] == {"type": "integer", "minimum": 0, "maximum": 23, "default": 12}


def test_classes_inside_classes_are_given() -> None:
    given = {"team": TEAM, "json": [{"first": 1}], "_when": NOON, "budget": "1.50", "code": "x", "at": 3.0}
    team = Team(members=[Place("Nice"), Place("Rome", 21.0)])
    when = datetime.datetime.fromisoformat(NOON)
    expected = meet(team, [{"first": 1}], when, decimal.Decimal("1.50"), "x", 3)
    assert as_tool(meet).call(given).text == expected


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            {"team": {"members": [{"town": "Nice"}]}},
            "team.members[0] has 'town', expected 'city', 'height_m'",
        ),
        ({"json": [{"first": 1}, {"first": "1"}]}, "json[1].first is '1', expected integer"),
        ({"json": [{"middle": 1}]}, "json[0] has 'middle', expected 'first', 'last'"),
        ({"_when": "soon"}, "_when is 'soon', expected datetime"),
        ({"code": [1]}, "code is [1], expected integer or code is [1], expected string"),
        ({"at": 24}, "at is 24, expected less than or equal to 23"),
    ],
)
def test_what_is_wrong_inside_is_named_by_its_place(arguments: dict[str, Any], said: str) -> None:
    output = as_tool(meet).call({"team": TEAM, "json": [], "_when": NOON, **arguments})
    assert output.text.startswith(f"error: {said}")


def test_what_a_function_raises_is_told_to_the_model() -> None:
    def divide(a: float, b: float) -> float:
        return a / b

    assert as_tool(divide).call({"a": 1, "b": 2}).text == "0.5"
    output = as_tool(divide).call({"a": 1, "b": 0})
    assert (output.text, output.is_error) == ("error: ZeroDivisionError: float division by zero", True)


def test_results_are_text_or_json() -> None:
    def give(kind: str) -> Any:
        return {"text": "as it is", "none": None, "data": {"é": [1]}, "place": Place("Nice"), "set": {1}}[
            kind
        ]

    tool = as_tool(give)
    results = [tool.call({"kind": kind}).text for kind in ("text", "none", "data", "place", "set")]
    assert results == ["as it is", "null", '{"é": [1]}', '{"city": "Nice", "height_m": 0.0}', "[1]"]


def test_json_definitions_of_both_forms() -> None:
    inner = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}
    wrapped = {"type": "function", "function": inner}
    assert as_tool(inner) == as_tool(wrapped)
    assert as_tool(wrapped).definition == wrapped
    assert as_tool(inner).call({}).text == "error: f cannot be run here"
    assert as_tool({"name": "g"}).parameters == {"type": "object", "properties": {}}


def no_hint(x):  # type: ignore[no-untyped-def]
    return x


def stars(*names: str) -> None: ...


class Socket:
    pass


def strange(x: Socket) -> None: ...


def called(x: Callable[[int], int]) -> None: ...


@dataclass
class Branch:
    leaves: list[Branch]


def climb(tree: Branch) -> None: ...


def unknown(x: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (no_hint, "parameter 'x' of no_hint has no type hint"),
        (stars, "stars takes [*]names"),
        (strange, "parameter x of strange is <class '.*Socket'>"),
        (called, "parameter x of called is .*Callable"),
        (climb, "parameter tree of climb holds Branch inside itself"),
        (unknown, "type hints of unknown cannot be read"),
        (lambda x: x, "no name to call it by"),
        (3, "expected a function or a JSON definition"),
        ({"description": "no name"}, "expected"),
        ({"name": "f", "parameters": {"type": "string"}}, "expected a schema of an object"),
    ],
)
def test_what_cannot_be_described_is_refused(item: Any, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        as_tool(item)


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(OptionError, match="two tools are named 'forecast'"):
        as_tools([forecast, Tool("forecast", "", {"type": "object"})])


def test_methods_and_wrapped_functions() -> None:
    class Shop:
        def price(self, item: str) -> int:
            """Of an item."""
            return len(item)

    def shout(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs).upper()

        return inner

    @shout
    def say(words: Sequence[str]) -> str:
        return " ".join(words)

    assert as_tool(Shop().price).call({"item": "tea"}).text == "3"
    assert as_tool(say).call({"words": ["a", "b"]}).text == "A B"


GOOGLE = "Adds.\n\nArgs:\n    a: first\n        of two\n    *b (int): more: rest\n\nReturns:\n    c: no"
NUMPY = "Adds.\n\nParameters\n----------\na : int\n    first\nb, c : int\n    others\n\nReturns\n-------\nint"
SPHINX = "Adds.\n\n:param a: first\n    of two\n:param int b: second\n:returns: x"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOGLE, {"a": "first of two", "b": "more: rest"}),
        (NUMPY, {"a": "first", "b": "others", "c": "others"}),
        (SPHINX, {"a": "first of two", "b": "second"}),
        ("Adds: numbers.\nAll of them.", {}),
    ],
)
def test_docstrings_of_every_style(text: str, said: dict[str, str]) -> None:
    summary, parameters = parse_docstring(text)
    assert parameters == said
    assert summary.startswith("Adds")
    assert "first" not in summary


FILE = '''
from dataclasses import dataclass
from os.path import join

@dataclass
class Point:
    x: int

def double(point: Point) -> int:
    """Twice."""
    return 2 * point.x

def _hidden(x: int) -> int:
    return x
'''


def test_the_public_functions_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "my-tools.py"
    file.write_text(FILE)
    tools = load_tools(file)
    assert list(tools) == ["double"]
    assert tools["double"].call({"point": {"x": 4}}).text == "8"


def test_a_file_that_is_no_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="does not exist"):
        load_tools(tmp_path / "none.py")
    broken, empty = tmp_path / "broken.py", tmp_path / "empty.py"
    broken.write_text("import nothing_of_this_name\n")
    empty.write_text("x = 1\n")
    with pytest.raises(FormatError, match=r"broken[.]py cannot be run: ModuleNotFoundError"):
        load_tools(broken)
    with pytest.raises(FormatError, match="defines no public function"):
        load_tools(empty)
