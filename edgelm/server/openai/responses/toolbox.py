"""The tools of a request: what the model is told of them, which have to be called, and what kind of item a call becomes.

A model knows functions alone. A custom tool, whose input is text, is told as a function of one text; the shell of Codex
as a function of its command; functions in a namespace under both names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from edgelm.server.exchange.body import refusal
from edgelm.server.exchange.calls import ForcedCalls, forced_calls
from edgelm.server.exchange.chat import definition, parameters_of

Name = Annotated[str, Field(min_length=1, max_length=256)]

SHELL = "local_shell"
_SHELL_PARAMETERS = {
    "type": "object",
    "properties": {
        "command": {"type": "array", "items": {"type": "string"}},
        "working_directory": {"type": "string"},
        "timeout_ms": {"type": "integer"},
    },
    "required": ["command"],
    "additionalProperties": False,
}
_INPUT_PARAMETERS = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}


class FunctionDefinition(BaseModel):
    """A function that the client runs."""

    type: Literal["function"]
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class InputFormat(BaseModel):
    """What the input of a custom tool is; a grammar is told to the model in words, and not enforced."""

    type: Literal["text", "grammar"]
    syntax: Literal["lark", "regex"] | None = None
    definition: str | None = None


class CustomDefinition(BaseModel):
    """A tool that the client runs, and whose input is text."""

    type: Literal["custom"]
    name: Name
    description: str | None = None
    format: InputFormat | None = None


class NamespaceDefinition(BaseModel):
    """Tools under a common name, as those of one MCP server."""

    type: Literal["namespace"]
    name: Name
    description: str | None = None
    tools: list[Annotated[FunctionDefinition | CustomDefinition, Field(discriminator="type")]]


class ShellDefinition(BaseModel):
    """A shell that the client runs."""

    type: Literal["local_shell"]


class HostedDefinition(BaseModel):
    """A tool that OpenAI runs, and nobody here."""

    type: Literal[
        "web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11", "file_search",
        "code_interpreter", "computer", "computer_use_preview", "image_generation", "mcp", "shell", "apply_patch",
        "tool_search", "programmatic_tool_calling",
    ]  # fmt: skip
    external_web_access: bool | None = None

    @property
    def is_idle(self) -> bool:
        """Whether it may be left out: a search of what OpenAI has stored, which is nothing here. Codex always sends it."""
        return self.type == "web_search" and self.external_web_access is False


AnyTool = Annotated[
    FunctionDefinition | CustomDefinition | NamespaceDefinition | ShellDefinition | HostedDefinition,
    Field(discriminator="type"),
]


class NamedTool(BaseModel):
    """A tool by its name; one in a namespace is named with it."""

    type: str
    name: str | None = None
    namespace: str | None = None


class AllowedTools(BaseModel):
    """Those of the tools that may be called this time."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[NamedTool]


class ChosenTool(BaseModel):
    """A tool that has to be called."""

    type: Literal["function", "custom", "local_shell"]
    name: str | None = None
    namespace: str | None = None


ResponseToolChoice = Literal["none", "auto", "required"] | AllowedTools | ChosenTool


@dataclass(frozen=True)
class KnownTool:
    """A tool as the client knows it."""

    kind: Literal["function", "custom", "local_shell"]
    name: str
    namespace: str | None = None

    def item(self, call_id: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a call of it is, without id and status."""
        if self.kind == "local_shell":
            action = {"type": "exec", "env": {}, "command": arguments.get("command", []), **arguments}
            return {"type": "local_shell_call", "call_id": call_id, "action": action}
        named = {"name": self.name, **({"namespace": self.namespace} if self.namespace else {})}
        if self.kind == "custom":
            text = arguments.get("input", "")
            return {
                "type": "custom_tool_call",
                "call_id": call_id,
                **named,
                "input": text if isinstance(text, str) else json.dumps(text),
            }
        return {
            "type": "function_call",
            "call_id": call_id,
            **named,
            "arguments": json.dumps(dict(arguments), ensure_ascii=False),
        }


@dataclass(frozen=True)
class Toolbox:
    """The tools of a request, under the names that the model knows.

    Attributes:
        definitions: those that the model is told of.
        known: all of them by the model's names.
        forced: the calls that have to come.
    """

    definitions: list[dict[str, Any]] = field(default_factory=list)
    known: Mapping[str, KnownTool] = field(default_factory=dict)
    forced: ForcedCalls | None = None

    def of(self, name: str) -> KnownTool:
        """Return the tool that the model calls by `name`; a function of that name where there is none."""
        return self.known.get(name, KnownTool("function", name))


def spoken_name(name: str, namespace: str | None = None) -> str:
    """Return the name of a tool that the model knows."""
    return f"{namespace}__{name}" if namespace else name


def toolbox(tools: Sequence[AnyTool], choice: ResponseToolChoice | None, *, is_one: bool) -> Toolbox:
    """Return the tools of a request.

    Args:
        is_one: no more than one call may come.

    Raises:
        RequestError: a tool that nobody runs here, or a choice that is none of them.
    """
    told: dict[str, dict[str, Any]] = {}
    known: dict[str, KnownTool] = {}
    for index, tool in enumerate(tools):
        if isinstance(tool, HostedDefinition):
            if tool.is_idle:
                continue
            raise refusal(
                f"tools[{index}]",
                f"is {tool.type}, which is run by OpenAI and not here; expected tools of the client",
            )
        inner = tool.tools if isinstance(tool, NamespaceDefinition) else [tool]
        namespace = tool.name if isinstance(tool, NamespaceDefinition) else None
        for each in inner:
            client = KnownTool(
                each.type, SHELL if isinstance(each, ShellDefinition) else each.name, namespace
            )
            name = spoken_name(client.name, namespace)
            if name in known:
                raise refusal(f"tools[{index}]", f"is the second tool of the name {client.name!r}")
            told[name], known[name] = _told(name, each), client
    return _chosen(told, known, choice, is_one=is_one)


def _told(name: str, tool: FunctionDefinition | CustomDefinition | ShellDefinition) -> dict[str, Any]:
    if isinstance(tool, FunctionDefinition):
        return definition(name, tool.description, tool.parameters)
    if isinstance(tool, ShellDefinition):
        return definition(
            name, "Runs a command on the user's machine and returns its output.", _SHELL_PARAMETERS
        )
    form = tool.format
    is_held = form is not None and form.type == "grammar" and form.definition
    rule = (
        f"The input matches this {form.syntax or 'lark'} grammar:\n{form.definition}"
        if form and is_held
        else ""
    )
    return definition(name, "\n\n".join(filter(None, (tool.description, rule))) or None, _INPUT_PARAMETERS)


def _chosen(
    told: dict[str, dict[str, Any]],
    known: dict[str, KnownTool],
    choice: ResponseToolChoice | None,
    *,
    is_one: bool,
) -> Toolbox:
    if choice == "none":
        return Toolbox([], known)
    if isinstance(choice, AllowedTools):
        names = [_find(each, known) for each in choice.tools]
        told = {name: told[name] for name in dict.fromkeys(names)}
        choice = choice.mode
    definitions = list(told.values())
    if choice is None or choice == "auto":
        return Toolbox(definitions, known)
    name = None if choice == "required" else _find(choice, known)
    return Toolbox(definitions, known, forced_calls(parameters_of(definitions), name, is_one=is_one))


def _find(named: NamedTool | ChosenTool, known: Mapping[str, KnownTool]) -> str:
    """The model's name of a tool."""
    wanted = SHELL if named.type == SHELL else named.name
    for name, tool in known.items():
        if (tool.kind, tool.name, tool.namespace) == (named.type, wanted, named.namespace):
            return name
    shown = ", ".join(tool.name for tool in known.values()) or "no tools"
    raise refusal("tool_choice", f"names {wanted or named.type!r}, expected one of {shown}")
