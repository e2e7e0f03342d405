"""The arguments of a Python function, by Pydantic: a JSON Schema for the model, and the JSON of a call as Python's values.

Each parameter is a Pydantic model with one field. Two things are done here that Pydantic leaves to its caller: chat templates
show a schema as it is, so it holds neither `$ref` nor titles; and a `TypedDict` of Python 3.11's `typing`, which Pydantic
refuses, becomes one of typing_extensions. Knows nothing about language models and docstrings.
"""

from __future__ import annotations

import functools
import inspect
import json
import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from edgelm.errors import OptionError
from edgelm.text.tools.complaints import complaint
from edgelm.text.tools.portable_hints import portable
from edgelm.text.tools.template_schema import for_template

if TYPE_CHECKING:
    from pydantic import BaseModel


def named_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what a `functools.partial` is made of, which has name, docstring and hints; anything else as it is."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def argument_schema(function: Callable[..., Any], descriptions: Mapping[str, str]) -> dict[str, Any]:
    """Return the JSON Schema (an object, without `$ref`) of the arguments that `function` takes.

    Args:
        function: its hints are types that Pydantic knows: str, int, float, bool, None, Any, list, tuple, set, dict, Literal,
            unions, enums, dates, dataclasses, TypedDicts, Pydantic models; `Annotated[T, "what it is"]` describes a value.
        descriptions: what each parameter is, for those whose hint does not say it.

    Raises:
        OptionError: a parameter that cannot be given by name, has no type hint, or a type that JSON has no word for.
    """
    parameters = _parameters(function)
    properties = {}
    for name, parameter in parameters.items():
        schema = _schema(parameter, _name(function))
        if name in descriptions and not _is_described(parameter.annotation):
            schema = {**schema, "description": descriptions[name]}
        properties[name] = schema
    required = [name for name, parameter in parameters.items() if _is_required(parameter)]
    return {"type": "object", "properties": properties, "required": required}


def read_arguments(function: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON `values` as the hints of `function` want them: an enum's member for its value, a dataclass for an object.

    A whole float passes as an integer, and an integer as a float; no other type is converted.

    Raises:
        ValueError: an argument is unknown, missing or of another type; the message is for the model.
        OptionError: as `argument_schema` raises it.
    """
    parameters, name = _parameters(function), _name(function)
    if unknown := [key for key in values if key not in parameters]:
        raise ValueError(f"{name} has no argument {unknown[0]!r}, only {', '.join(parameters) or 'none'}")
    required = [key for key, parameter in parameters.items() if _is_required(parameter)]
    if missing := [key for key in required if key not in values]:
        raise ValueError(f"{name} needs the argument {missing[0]!r}")
    return {key: _read(value, parameters[key], name) for key, value in values.items()}


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters by name, their annotations evaluated."""
    name = _name(function)
    try:
        signature, hints = inspect.signature(function), _hints(named_function(function))
    except (NameError, TypeError, ValueError) as error:
        raise OptionError(f"the type hints of {name} cannot be read: {error}") from error
    for parameter in signature.parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise OptionError(f"{name} takes {parameter}, expected parameters that a call names")
        if parameter.name not in hints:
            raise OptionError(
                f"parameter {parameter.name!r} of {name} has no type hint",
                hint=f"write {parameter.name}: str",
            )
    return {key: value.replace(annotation=hints[key]) for key, value in signature.parameters.items()}


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    if isinstance(function, type):
        # Dataclasses and Pydantic models have their hints in the class, others in __init__.
        of_class = typing.get_type_hints(function, include_extras=True)
        return {**of_class, **typing.get_type_hints(function.__init__, include_extras=True)}  # type: ignore[misc]
    target = function if inspect.isroutine(function) else type(function).__call__
    return typing.get_type_hints(target, include_extras=True)


def _name(function: Callable[..., Any]) -> str:
    return getattr(named_function(function), "__name__", repr(function))


def _is_described(hint: Any) -> bool:
    notes = getattr(hint, "__metadata__", ())
    return any(isinstance(note, str) or getattr(note, "description", None) for note in notes)


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty


def _model(parameter: inspect.Parameter) -> type[BaseModel]:
    from pydantic import ConfigDict, create_model

    # Standard dataclasses and TypedDicts inside follow this configuration; Pydantic models have their own.
    config = ConfigDict(strict=True, extra="forbid")
    default = ... if _is_required(parameter) else parameter.default
    return create_model("Argument", __config__=config, value=(portable(parameter.annotation), default))


def _schema(parameter: inspect.Parameter, function: str) -> dict[str, Any]:
    from pydantic.errors import PydanticUserError

    try:
        return for_template(_model(parameter))["properties"]["value"]  # type: ignore[no-any-return]
    except PydanticUserError as error:
        raise OptionError(
            f"parameter {parameter.name} of {function} is {parameter.annotation!r}, which JSON has no word for",
            hint=error.message if error.code == "typed-dict-version" else "use str, int, list, dict…",
        ) from error
    except RecursionError as error:
        raise OptionError(
            f"parameter {parameter.name} of {function} holds {error} inside itself, which chat templates cannot show",
            hint="take its parts as parameters",
        ) from None


def _read(value: Any, parameter: inspect.Parameter, function: str) -> Any:
    from pydantic import ValidationError

    try:
        # As JSON, in which a list may be a tuple or a set and a text an enum's member, with every type held to.
        read: Any = _model(parameter).model_validate_json(json.dumps({"value": _with_integers(value)}))
        return read.value
    except ValidationError as error:
        raise ValueError(complaint(error, parameter.name, value, _schema(parameter, function))) from None


def _with_integers(value: Any) -> Any:
    """Whole floats as integers, which JSON does not tell apart."""
    if isinstance(value, Mapping):
        return {key: _with_integers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_integers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
