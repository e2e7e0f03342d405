"""mlx-lm's readers of calls that are neither JSON nor Python."""

from __future__ import annotations

from typing import Any

ToolSchemas = list[dict[str, Any]] | None
"""Definitions as chat templates take them: `{"type": "function", "function": {…}}`."""


def parse_xml_call(text: str, tools: ToolSchemas) -> dict[str, Any]:
    """Read the name and arguments of one `<function=name><parameter=key>value</parameter></function>` (Qwen3-Coder, Seed).

    Raises:
        ValueError: `text` is something else.
    """
    from mlx_lm.tool_parsers.qwen3_coder import parse_tool_call

    call: dict[str, Any] = parse_tool_call(text, tools)
    return call


def parse_glm_call(text: str, tools: ToolSchemas) -> dict[str, Any]:
    """Read the name and arguments of one `name<arg_key>key</arg_key><arg_value>value</arg_value>` (GLM).

    Raises:
        ValueError: `text` is something else.
    """
    from mlx_lm.tool_parsers.glm47 import parse_tool_call

    call: dict[str, Any] = parse_tool_call(text, tools)
    return call
