"""Tools and the choice between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from edgelm.server.exchange.body import refusal
from edgelm.server.exchange.calls import ForcedCalls, forced_calls
from edgelm.server.exchange.chat import Definitions, definition, parameters_of

OWN_KINDS = (None, "custom")
"""Tools whose schema the request brings. All others are known to Anthropic's models and servers alone."""


class ClientTool(BaseModel):
    """A tool. `strict` is kept where a call is insisted on; free calls are read in the model's own form, and by the asker."""

    type: str | None = None
    name: Annotated[str, Field(min_length=1, max_length=256)]
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None


class AnthropicToolChoice(BaseModel):
    """Which tools may, or must, be called."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


def definitions_of(tools: Sequence[ClientTool]) -> list[dict[str, Any]]:
    """Return tools in the form that chat templates read.

    Raises:
        RequestError: a tool that Anthropic's servers run or define, one without a schema, or two of a name.
    """
    names: set[str] = set()
    for index, tool in enumerate(tools):
        if tool.name in names:
            raise refusal(f"tools[{index}].name", f"is {tool.name!r}, which another tool has")
        names.add(tool.name)
        if tool.type not in OWN_KINDS:
            raise refusal(
                f"tools[{index}].type",
                f"is {tool.type!r}, a tool that is Anthropic's own; expected tools with an input_schema",
            )
        if tool.input_schema is None or tool.input_schema.get("type") != "object":
            raise refusal(f"tools[{index}].input_schema", "is no JSON Schema of type object")
    return [definition(tool.name, tool.description, tool.input_schema) for tool in tools]


def insisted_on(choice: AnthropicToolChoice | None, tools: Definitions) -> ForcedCalls | None:
    """Return the calls that a request insists on; None where calls are free.

    Raises:
        RequestError: a tool that is not there, or none is.
    """
    if choice is None or choice.type in ("auto", "none"):
        return None
    if choice.type == "tool" and choice.name is None:
        raise refusal("tool_choice.name", "is missing")
    name = choice.name if choice.type == "tool" else None
    return forced_calls(parameters_of(tools), name, is_one=bool(choice.disable_parallel_tool_use))
