"""Python's type hints in JSON's terms: a schema for the model, and its JSON values turned into Python's.

Knows nothing about models or docstrings.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union

from edgelm.errors import OptionError

_PLAIN: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a function."""

    name: str
    hint: Any
    default: Any = inspect.Parameter.empty

    @property
    def is_required(self) -> bool:
        """Whether a call must give it."""
        return self.default is inspect.Parameter.empty


def parameters_of(function: Callable[..., Any]) -> dict[str, Parameter]:
    """The parameters by name.

    Raises:
        OptionError: one that cannot be given by name, or has no type hint.
    """
    name = getattr(named_function(function), "__name__", repr(function))
    try:
        signature, hints = inspect.signature(function), _hints(function)
    except (NameError, TypeError, ValueError) as error:
        raise OptionError(f"the type hints of {name} cannot be read: {error}") from error
    found = {}
    for parameter in signature.parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise OptionError(f"{name} takes {parameter}, expected parameters that a call names")
        if parameter.name not in hints:
            raise OptionError(
                f"parameter {parameter.name!r} of {name} has no type hint",
                hint=f"write {parameter.name}: str",
            )
        found[parameter.name] = Parameter(parameter.name, hints[parameter.name], parameter.default)
    return found


def named_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """What a `functools.partial` is of, which has name, docstring and hints; anything else is itself."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    function = named_function(function)
    if isinstance(function, type):
        # Dataclasses and Pydantic models have their hints in the class, others in __init__.
        of_class = typing.get_type_hints(function, include_extras=True)
        return {**of_class, **typing.get_type_hints(function.__init__, include_extras=True)}  # type: ignore[misc]
    target = function if inspect.isroutine(function) else type(function).__call__
    return typing.get_type_hints(target, include_extras=True)


def to_schema(hint: Any, where: str) -> dict[str, Any]:
    """JSON Schema of a type hint.

    Args:
        hint: str, int, float, bool, None, Any, list, tuple, set, dict, Literal, unions, enums, dataclasses,
            TypedDicts, Pydantic models; `Annotated[T, "what it is"]` adds a description.
        where: names the parameter in errors.

    Raises:
        OptionError: a type that JSON has no word for.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        schema = to_schema(inner[0], where)
        notes = [note for note in inner[1:] if isinstance(note, str)]
        return {**schema, "description": notes[0]} if notes else schema
    if hint in _PLAIN or hint is None:
        return {"type": _PLAIN[type(None) if hint is None else hint]}
    if hint is Any or hint is inspect.Parameter.empty:
        return {}
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in (Union, types.UnionType):
        return _union(inner, where)
    kind = origin or hint
    if isinstance(kind, type):
        if (found := _of_class(kind, where)) is not None:
            return found
        if issubclass(kind, Mapping):
            return {
                "type": "object",
                **({"additionalProperties": to_schema(inner[1], where)} if inner else {}),
            }
        if issubclass(kind, list | tuple | set | frozenset | Sequence):
            return _array(kind, inner, where)
    raise OptionError(
        f"parameter {where} is {hint!r}, which JSON has no word for", hint="use str, int, list, dict…"
    )


def _union(members: Sequence[Any], where: str) -> dict[str, Any]:
    schemas = [to_schema(member, where) for member in members]
    if all(schema.keys() == {"type"} for schema in schemas):
        return {"type": [schema["type"] for schema in schemas]}
    return {"anyOf": schemas}


def _array(kind: type, inner: tuple[Any, ...], where: str) -> dict[str, Any]:
    if not inner:
        return {"type": "array"}
    if issubclass(kind, tuple) and inner[-1] is not Ellipsis:
        items = [to_schema(item, where) for item in inner]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    return {"type": "array", "items": to_schema(inner[0], where)}


def _of_class(kind: type, where: str) -> dict[str, Any] | None:
    if issubclass(kind, enum.Enum):
        return {"enum": [member.value for member in kind]}
    if hasattr(kind, "model_json_schema"):
        schema: dict[str, Any] = kind.model_json_schema()
        if "$defs" in schema:
            raise OptionError(
                f"parameter {where} is {kind.__name__}, a model of models, which chat templates cannot show",
                hint="take its parts as parameters",
            )
        return schema
    fields = _fields(kind)
    if fields is None:
        return None
    hints = typing.get_type_hints(kind, include_extras=True)
    return {
        "type": "object",
        "properties": {name: to_schema(hints[name], f"{where}.{name}") for name in fields},
        "required": [name for name, required in fields.items() if required],
    }


def _fields(kind: type) -> dict[str, bool] | None:
    """Field names and whether they are required, of a dataclass or TypedDict."""
    if typing.is_typeddict(kind):
        required: frozenset[str] = kind.__required_keys__  # type: ignore[attr-defined]
        return {name: name in required for name in kind.__annotations__}
    if not dataclasses.is_dataclass(kind):
        return None
    missing = dataclasses.MISSING
    return {
        item.name: item.default is missing and item.default_factory is missing
        for item in dataclasses.fields(kind)
        if item.init
    }


def convert(value: Any, hint: Any, name: str) -> Any:
    """A JSON value as its hint wants it.

    Raises:
        ValueError: it is not of that type; the message is for the model.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return convert(value, inner[0], name)
    if hint is Any or hint is inspect.Parameter.empty:
        return value
    if hint in _PLAIN or hint is None:
        return _plain(value, type(None) if hint is None else hint, name)
    if origin is Literal:
        return _one_of(value, {item: item for item in inner}, name)
    if origin in (Union, types.UnionType):
        return _first_of(value, inner, name)
    return _structured(value, origin or hint, inner, name)


def _plain(value: Any, kind: type, name: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{name} is {value!r}, expected {_PLAIN[kind]}")
    return value


def _one_of(value: Any, choices: Mapping[Any, Any], name: str) -> Any:
    for key, chosen in choices.items():
        if key == value and isinstance(key, bool) == isinstance(value, bool):
            return chosen
    raise ValueError(f"{name} is {value!r}, expected one of {', '.join(map(repr, choices))}")


def _first_of(value: Any, members: Sequence[Any], name: str) -> Any:
    problems = []
    for member in members:
        try:
            return convert(value, member, name)
        except ValueError as error:
            problems.append(str(error))
    raise ValueError(" or ".join(dict.fromkeys(problems)))


def _structured(value: Any, kind: Any, inner: tuple[Any, ...], name: str) -> Any:
    if issubclass(kind, enum.Enum):
        return _one_of(value, {member.value: member for member in kind}, name)
    if hasattr(kind, "model_validate"):
        return kind.model_validate(value)  # Pydantic's error is a ValueError
    if (fields := _fields(kind)) is not None:
        return _record(value, kind, fields, name)
    if issubclass(kind, Mapping):
        _expect(value, dict, "an object", name)
        return {
            key: convert(item, inner[1], f"{name}.{key}") if inner else item for key, item in value.items()
        }
    _expect(value, list, "an array", name)
    return _listed(value, kind, inner, name)


def _listed(value: list[Any], kind: type, inner: tuple[Any, ...], name: str) -> Any:
    hints: list[Any] = [inner[0] if inner else Any] * len(value)
    if inner and issubclass(kind, tuple) and inner[-1] is not Ellipsis:
        if len(value) != len(inner):
            raise ValueError(f"{name} has {len(value)} items, expected {len(inner)}")
        hints = list(inner)
    items = [
        convert(item, hint, f"{name}[{i}]") for i, (item, hint) in enumerate(zip(value, hints, strict=True))
    ]
    return kind(items) if kind in (tuple, set, frozenset) else items


def _record(value: Any, kind: Any, fields: Mapping[str, bool], name: str) -> Any:
    _expect(value, dict, "an object", name)
    hints = typing.get_type_hints(kind, include_extras=True)
    wrong = [key for key in value if key not in fields] or [
        k for k, needed in fields.items() if needed and k not in value
    ]
    if wrong:
        raise ValueError(
            f"{name} has {', '.join(map(repr, value)) or 'nothing'}, expected {', '.join(map(repr, fields))}"
        )
    return kind(**{key: convert(item, hints[key], f"{name}.{key}") for key, item in value.items()})


def _expect(value: Any, kind: type, wanted: str, name: str) -> None:
    if not isinstance(value, kind):
        raise ValueError(f"{name} is {value!r}, expected {wanted}")
