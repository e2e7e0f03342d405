"""The language that a reply must be in: a JSON Schema, a regular expression or a grammar, validated when built.

Plain values that cross threads and may be kept; `matcher.py` makes a constraint of one. llguidance compiles
them (https://github.com/guidance-ai/llguidance). Knows no tokenizer and no model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from edgelm.errors import EdgeLMError, FormatError, OptionError, UnsupportedError
from edgelm.runtime.constraints.compiler import compiler_errors
from edgelm.runtime.constraints.schema.checks import check_depth
from edgelm.runtime.constraints.schema.patterns import check_patterns
from edgelm.runtime.constraints.schema.prepare import bounded, locate, merges, prepare

Kind = Literal["schema", "regex", "lark"]

_JSON_STYLE = {
    # As `json.dumps` writes it. Where space is free, a model may write nothing else for ever.
    "item_separator": ", ",
    "key_separator": ": ",
    "whitespace_flexible": False,
    # Without \u: llguidance 1.9 takes an additional property "\u0061" for another name than "a".
    "json_allowed_escapes": 'nrbtf\\"',
}


@dataclass(frozen=True)
class Grammar:
    """What a reply must match, as a whole. Made by `from_schema`, `from_regex` and `from_lark`.

    Attributes:
        kind: what `text` is.
        text: the schema as JSON, the expression, or the grammar in Lark's syntax as llguidance reads it.
        compiled: the form that llguidance takes.
        model: the Pydantic model class that the schema came from, if one did.
    """

    kind: Kind
    text: str
    compiled: str = field(repr=False)
    model: Any = None

    @classmethod
    def from_schema(cls, schema: Any) -> Self:
        """Make the grammar of a JSON Schema: a dict, its JSON text, `True`, or a Pydantic model class.

        Raises:
            OptionError: not a schema, or one that nothing matches.
            UnsupportedError: a keyword that cannot be enforced, named with its place.
        """
        model = schema if isinstance(schema, type) else None
        found = _schema_dict(schema)
        text = json.dumps(found)
        prepared = prepare(found)
        compiled = _compile_schema(bounded(prepared))
        problem = _problem(compiled)
        if problem is not None:
            raise _schema_error(prepared, problem)
        check_patterns(locate(prepared), _compile_schema, merges=merges(prepared))
        return cls("schema", text, compiled, model)

    @classmethod
    def from_regex(cls, pattern: str) -> Self:
        r"""Make the grammar of a regular expression, which must match the whole reply.

        The syntax is that of Rust's regex crate, `\d` only ASCII digits.

        Raises:
            OptionError: not such an expression; look-around and back-references are none.
        """
        from llguidance import LLMatcher, regex_to_lark

        _check_text(pattern, "regex")
        with compiler_errors():
            compiled = LLMatcher.grammar_from_lark(f"start: /{regex_to_lark(pattern, 'd')}/")
        problem = _problem(compiled)
        if problem is not None:
            reason = problem.partition("\nerror: ")[2].partition("\n")[0] or problem
            raise OptionError(f"the regex {pattern!r} cannot be read: {reason}")
        return cls("regex", pattern, compiled)

    @classmethod
    def from_lark(cls, grammar: str) -> Self:
        """Make the grammar of a text in llguidance's dialect of Lark, whose start rule is `start`.

        Raises:
            OptionError: the grammar has an error; the message gives its line.
        """
        from llguidance import LLMatcher

        _check_text(grammar, "grammar")
        with compiler_errors():
            compiled = LLMatcher.grammar_from_lark(grammar)
        problem = _problem(compiled)
        if problem is not None:
            raise OptionError(f"the grammar cannot be read: {problem}")
        return cls("lark", grammar, compiled)

    def parse(self, text: str) -> Any:
        """Return the value of a complete reply: JSON data, an instance of `model`, or `text` if this is no schema.

        Raises:
            FormatError: `text` is not what was asked for.
        """
        if self.kind != "schema":
            return text
        try:
            return json.loads(text) if self.model is None else self.model.model_validate_json(text)
        except ValueError as error:  # json's and Pydantic's are both
            raise FormatError(f"the reply does not match its schema: {error}") from error


def grammar_of(*, schema: Any = None, regex: str | None = None, grammar: Any = None) -> Grammar | None:
    """Return the one that was given, or None if none was.

    Raises:
        OptionError: more than one was given, or one that is wrong.
        UnsupportedError: as `Grammar.from_schema`.
    """
    named = {"schema": schema, "regex": regex, "grammar": grammar}
    given = [name for name, value in named.items() if value is not None]
    if len(given) > 1:
        raise OptionError(f"{' and '.join(given)} are given, expected one of them")
    if schema is not None:
        return Grammar.from_schema(schema)
    if regex is not None:
        return Grammar.from_regex(regex)
    if grammar is None or isinstance(grammar, Grammar):
        return grammar
    return Grammar.from_lark(grammar)


def _schema_dict(schema: Any) -> dict[str, Any]:
    if isinstance(schema, type) and hasattr(schema, "model_json_schema"):
        schema = _class_schema(schema)
    if isinstance(schema, str):
        try:
            schema = json.loads(schema)
        except (ValueError, RecursionError) as error:
            raise OptionError(f"the schema is not JSON: {error}") from None
    if schema is True:
        return {}
    if not isinstance(schema, Mapping):
        raise OptionError(f"schema is {schema!r}, expected a JSON Schema or a Pydantic model class")
    try:
        copy: dict[str, Any] = json.loads(json.dumps(schema, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise OptionError(f"the schema holds what JSON cannot: {error}") from None
    check_depth(copy)
    return copy


def _class_schema(model: Any) -> Any:
    if hasattr(model, "__pydantic_core_schema__"):
        from edgelm.runtime.constraints.schema.pydantic import schema_of

        return schema_of(model)
    return model.model_json_schema()


def _compile_schema(prepared: Mapping[str, Any]) -> str:
    from llguidance import LLMatcher

    options: Any = _JSON_STYLE
    # Overrides win over the schema's own "x-guidance", which may choose the style and nothing else.
    with compiler_errors():
        compiled = LLMatcher.grammar_from_json_schema(
            dict(prepared), defaults=options, overrides={"lenient": False, "coerce_one_of": False}
        )
    return str(compiled)


def _problem(compiled: str) -> str | None:
    """What llguidance has against a grammar; None if nothing."""
    from llguidance import LLMatcher

    with compiler_errors():
        failed, messages = LLMatcher.validate_grammar_with_warnings(compiled)
    return str(messages[0]).strip() if failed else None


def _schema_error(schema: Mapping[str, Any], problem: str) -> EdgeLMError:
    """The problem with the place of the innermost schema that has it."""
    shared = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    where = "#"
    for pointer, part in locate(schema):
        if _problem(_compile_schema({**shared, **part})) == problem:
            where = pointer
            break
    kind: type[EdgeLMError] = (
        OptionError if problem.startswith(("Unsatisfiable", "Expected", "Invalid")) else UnsupportedError
    )
    return kind(f"the schema at {where} cannot be enforced: {problem}")


def _check_text(text: Any, name: str) -> None:
    if not isinstance(text, str) or not text:
        raise OptionError(f"{name} is {text!r}, expected text")
