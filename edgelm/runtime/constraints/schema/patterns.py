"""Patterns of property names beside listed properties: what is left of a pattern without the names that are listed.

The compiler takes listed names out of every pattern. Where nothing is left it offers a property that cannot be spelt, and
a reply ends in the middle; so such a pattern is refused beforehand. Asks the compiler itself, on single bytes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from edgelm.errors import UnsupportedError

if TYPE_CHECKING:
    from llguidance import LLTokenizer

Compile = Callable[[Mapping[str, Any]], str]


def check_patterns(
    schemas: Iterable[tuple[str, Mapping[str, Any]]], compiled: Compile, *, merges: bool
) -> None:
    """Refuse patterns that match nothing but listed properties.

    Args:
        schemas: of one document, with their JSON pointers.
        compiled: what the compiler makes of a schema.
        merges: whether schemas of the document are laid over each other, so that names listed anywhere count everywhere.

    Raises:
        UnsupportedError: such a pattern, by name.
    """
    found = list(schemas)
    everywhere = {name for _, schema in found for name in _listed(schema)}
    for pointer, schema in found:
        names = everywhere if merges else set(_listed(schema))
        for pattern in schema.get("patternProperties", {}):
            if not _matches_others(pattern, frozenset(names), compiled):
                raise UnsupportedError(
                    f"the schema's pattern {pattern!r} at {pointer}/patternProperties matches only listed properties",
                    hint="say under properties what they must be, and leave the pattern out",
                )


def _listed(schema: Mapping[str, Any]) -> list[str]:
    """Names that are written in a place of their own; a required one is listed without being named so."""
    return [*schema.get("properties", {}), *schema.get("required", [])]


def _matches_others(pattern: str, names: frozenset[str], compiled: Compile) -> bool:
    from llguidance import LLMatcher

    probe = {
        "type": "object",
        "properties": dict.fromkeys(sorted(names), False),
        "patternProperties": {pattern: {"type": "null"}},
        "additionalProperties": False,
    }
    grammar = compiled(probe)
    if LLMatcher.validate_grammar_with_warnings(grammar)[0]:
        return True  # not a pattern: the compiler says so of the schema itself
    matcher = LLMatcher(_bytes(), grammar, log_level=0)
    matcher.consume_tokens(_bytes().tokenize_bytes(b"{"))
    if matcher.is_error() or matcher.validate_tokens(_bytes().tokenize_bytes(b'"')) == 0:
        return False
    matcher.consume_tokens(_bytes().tokenize_bytes(b'"'))
    matcher.compute_bitmask()
    return not matcher.is_error()


@functools.cache
def _bytes() -> LLTokenizer:
    """A tokenizer whose tokens are single bytes."""
    from llguidance import LLTokenizer

    return LLTokenizer("byte")
