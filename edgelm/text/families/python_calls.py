"""Calls written as Python: `[f(a=1), g(b="x")]` (LFM2, Llama 4), one a line (Olmo 3), `f.call(a=1)` (Llama 3).

Arguments are literals given by name; JSON's `true`, `false` and `null` are literals too. Nothing is evaluated.
"""

from __future__ import annotations

import ast
import keyword
import re
import textwrap
from typing import Any

from edgelm.text.families.json_calls import Call, Tools, read_json_calls

_MARK = "_edgelm_keyword"
_WORD = re.compile(
    r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|\b(" + "|".join(keyword.kwlist) + r")\b(?=\s*=(?!=))", re.DOTALL
)
"""Texts, and keywords that stand where a parameter's name does."""
_JSON = re.compile(r"\[?\s*\{\s*\"(?:name|type|function|tool_name)\"\s*:")
_JSON_NAMES = {"true": True, "false": False, "null": None}


def read_python_calls(text: str, tools: Tools = None) -> list[Call]:
    """Return the calls in `text`, which holds nothing else.

    Raises:
        ValueError, SyntaxError: it is not made of calls with literal arguments.
    """
    text = textwrap.dedent(text).strip()
    if not text:
        raise ValueError("there is no call")
    if _JSON.match(text):  # what LFM2 writes where its system prompt asks for JSON
        return read_json_calls(text, tools)
    calls = [_call(node, tools) for node in _nodes(_without_keywords(text))]
    if not calls:
        raise ValueError("there is no call")
    return calls


def _without_keywords(text: str) -> str:
    """`f(from="x")` with a mark at the name, which Python keeps for itself; names inside texts stay."""
    return _WORD.sub(lambda match: match[0] if match[1] is None else f"{match[1]}{_MARK}", text)


def _nodes(text: str) -> list[ast.expr]:
    if text.startswith("["):
        expression = ast.parse(text, mode="eval").body
        return expression.elts if isinstance(expression, ast.List) else [expression]
    # One a line, or separated by commas or semicolons.
    return [node for line in ast.parse(text).body for node in _expressions(line)]


def _expressions(line: ast.stmt) -> list[ast.expr]:
    if not isinstance(line, ast.Expr):
        raise ValueError(f"{ast.unparse(line)!r} is no call")
    return list(line.value.elts) if isinstance(line.value, ast.Tuple) else [line.value]


def _call(node: ast.expr, tools: Tools) -> Call:
    if not isinstance(node, ast.Call):
        raise ValueError(f"{ast.unparse(node)!r} is no call")
    name = _dotted(node.func)
    arguments = {}
    names = _parameters(name, tools)
    if len(node.args) > len(names):
        raise ValueError(f"{name} is called with arguments that have no names")
    for parameter, value in zip(names, node.args, strict=False):
        arguments[parameter] = _literal(value)
    for each in node.keywords:
        given = (each.arg or "").removesuffix(_MARK)
        if not given or given in arguments:
            raise ValueError(f"{name} is called with {ast.unparse(each)!r}")
        arguments[given] = _literal(each.value)
    return {"name": name.removesuffix(".call"), "arguments": arguments}


def _parameters(name: str, tools: Tools) -> list[str]:
    """The names of a known tool's parameters in order, for arguments given by place."""
    for tool in tools or ():
        function = tool.get("function", tool)
        if function.get("name") == name:
            return list((function.get("parameters") or {}).get("properties") or {})
    return []


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    raise ValueError(f"{ast.unparse(node)!r} is no function's name")


class _Literals(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(_JSON_NAMES[node.id]) if node.id in _JSON_NAMES else node


def _literal(node: ast.expr) -> Any:
    value = ast.literal_eval(_Literals().visit(node))
    return list(value) if isinstance(value, tuple | set) else value
