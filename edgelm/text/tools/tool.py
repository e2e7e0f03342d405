"""A tool: what the model is told of a function, and the function, where there is one.

It is made of a Python function (signature, type hints and docstring) or of JSON as chat templates take it. Calling
one never raises for what the model got wrong or the function did: the text that comes back is the error.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgelm.errors import OptionError
from edgelm.options import shorten
from edgelm.text.tools.arguments import argument_schema, named_function, read_arguments
from edgelm.text.tools.docstring import parse_docstring
from edgelm.text.tools.results import as_text, settled


@dataclass(frozen=True)
class Tool:
    """A function that a model may call.

    Attributes:
        name: what the model calls it.
        description: what it does, for the model.
        parameters: JSON Schema of its arguments, an object.
        function: what runs; None if the caller runs it in another way.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    function: Callable[..., Any] | None = None

    @property
    def definition(self) -> dict[str, Any]:
        """The tool as chat templates take it: `{"type": "function", "function": {…}}`."""
        described = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": described}

    def call(self, arguments: Mapping[str, Any]) -> ToolOutput:
        """Run the function; what went wrong is in the output, as text for the model."""
        if self.function is None:
            return ToolOutput(f"error: {self.name} cannot be run here", is_error=True)
        try:
            given = read_arguments(self.function, arguments)
        except (ValueError, TypeError) as error:
            return ToolOutput(f"error: {error}", is_error=True)
        try:
            return ToolOutput(as_text(settled(self.function(**given))))
        except Exception as error:  # noqa: BLE001 - whatever a user's function raises, the model reads
            return ToolOutput(f"error: {type(error).__name__}: {error}", is_error=True)


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """What a call came to, as text for the model."""

    text: str
    is_error: bool = False


def as_tools(tools: Iterable[Any] | None) -> dict[str, Tool]:
    """Make tools, by name, of functions, `Tool`s and JSON definitions; None is none.

    Raises:
        OptionError: one that is none of these, or two of one name.
    """
    if tools is not None and (isinstance(tools, str | bytes | Mapping) or not isinstance(tools, Iterable)):
        raise OptionError(
            f"tools is {shorten(tools)}, expected a list of functions or JSON definitions",
            hint="put a single one into a list",
        )
    by_name: dict[str, Tool] = {}
    for item in tools or ():
        tool = as_tool(item)
        if tool.name in by_name:
            raise OptionError(f"two tools are named {tool.name!r}")
        by_name[tool.name] = tool
    return by_name


def as_tool(item: Any) -> Tool:
    """Make a tool of a function, a `Tool` or a JSON definition.

    Raises:
        OptionError: `item` is none of these; a parameter has no type hint, or one that JSON has no word for.
    """
    if isinstance(item, Tool):
        return item
    if isinstance(item, Mapping):
        return _from_json(item)
    if callable(item):
        return _from_function(item)
    raise OptionError(f"tool is {item!r}, expected a function or a JSON definition")


def _from_json(item: Mapping[str, Any]) -> Tool:
    described = item.get("function", item)
    if not isinstance(described, Mapping) or not isinstance(described.get("name"), str):
        raise OptionError(f'tool is {item!r}, expected {{"name", "description", "parameters"}}')
    parameters = described.get("parameters") or {"type": "object", "properties": {}}
    if not isinstance(parameters, Mapping) or parameters.get("type") != "object":
        raise OptionError(
            f"the parameters of tool {described['name']!r} are {parameters!r}, expected a schema of an object"
        )
    return Tool(described["name"], str(described.get("description") or ""), parameters)


def _from_function(function: Callable[..., Any]) -> Tool:
    named = named_function(function)
    name = getattr(named, "__name__", "")
    if not name.isidentifier():
        raise OptionError(f"{function!r} has no name to call it by, expected a function made with def")
    summary, descriptions = parse_docstring(inspect.getdoc(named) or "")
    return Tool(name, summary, argument_schema(function, descriptions), function)
