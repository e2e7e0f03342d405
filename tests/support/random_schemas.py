"""JSON Schemas by chance, sensible and not, and replies that a compiled one admits, chosen by chance on single bytes."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer

from edgelm.runtime.constraints.grammar import Grammar

NAMES = st.sampled_from(["a", "b", "ab", "kind"])
PATTERNS = st.sampled_from(["^a", "b$", "^ab$", "^(a|b)$", "c", "^x[0-9]$", "."])
VALUES = st.sampled_from(
    [None, True, 0, 1, -3, 2.5, "", "a", "abc", [1], [], {"a": 1}, {"kind": "x", "b": None}]
)
SMALL = st.integers(0, 3)
NUMBERS = st.sampled_from([-3, -1, 0, 1, 2.5, 4, 10])


def _some(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


def _leaves() -> st.SearchStrategy[Any]:
    strings = {"minLength": SMALL, "maxLength": SMALL, "pattern": PATTERNS}
    numbers = {
        "minimum": NUMBERS,
        "maximum": NUMBERS,
        "exclusiveMinimum": NUMBERS,
        "multipleOf": st.sampled_from([1, 2, 0.5]),
    }
    formats = st.sampled_from(["date", "time", "date-time", "duration", "uuid", "ipv4", "ipv6", "email"])
    return st.one_of(
        st.booleans(),
        st.builds(lambda value: {"const": value}, VALUES),
        st.builds(
            lambda values, more: {"enum": values, **more},
            st.lists(VALUES, min_size=1, max_size=3),
            _some({"type": st.just("string")}),
        ),
        st.builds(lambda more: {"type": "string", **more}, _some(strings)),
        st.builds(lambda name: {"type": "string", "format": name}, formats),
        st.builds(
            lambda kind, more: {"type": kind, **more}, st.sampled_from(["integer", "number"]), _some(numbers)
        ),
        st.builds(
            lambda kind: {"type": kind},
            st.sampled_from(["null", "boolean", ["integer", "null"], ["string", "array"]]),
        ),
        st.builds(lambda name: {"$ref": f"#/$defs/{name}"}, st.sampled_from(["one", "two"])),
        st.just({"$ref": "#"}),
    )


def _branches(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, min_size=1, max_size=3)
    properties = st.dictionaries(NAMES, inner, max_size=3)
    objects = {
        "properties": properties,
        "required": st.lists(NAMES, max_size=2, unique=True),
        "patternProperties": st.dictionaries(PATTERNS, inner, max_size=1),
        "additionalProperties": inner,
        "minProperties": SMALL,
        "maxProperties": SMALL,
    }
    arrays = {"items": inner, "prefixItems": several, "minItems": SMALL, "maxItems": SMALL}
    combined = {"anyOf": several, "oneOf": several, "allOf": several, "minimum": NUMBERS, "maxLength": SMALL}
    tagged = st.builds(
        lambda values, more: {
            "oneOf": [
                {"type": "object", "properties": {"kind": {"const": value}, "b": more}} for value in values
            ],
            "discriminator": {"propertyName": "kind"},
        },
        st.lists(st.sampled_from(["x", "y", "z"]), min_size=1, max_size=3, unique=True),
        inner,
    )
    return st.one_of(
        st.builds(lambda more: {"type": "object", **more}, _some(objects)),
        st.builds(lambda more: {"type": "array", **more}, _some(arrays)),
        _some({**combined, **objects, "items": inner, "$ref": st.just("#/$defs/one")}),
        st.builds(lambda key, cases: {key: cases}, st.sampled_from(["anyOf", "oneOf", "allOf"]), several),
        tagged,
    )


SCHEMAS = st.builds(
    lambda schema, one, two: {
        **(schema if isinstance(schema, dict) else {"allOf": [schema]}),
        "$defs": {"one": one, "two": two},
    },
    st.recursive(_leaves(), _branches, max_leaves=8),
    st.recursive(_leaves(), _branches, max_leaves=4),
    _leaves(),
)


class Walker:
    """Writes replies by a grammar, byte by byte."""

    def __init__(self) -> None:
        self._tokens = LLTokenizer("byte")

    def write(self, grammar: Grammar, seed: int, longest: int = 600) -> str | None:
        """One complete reply; None where it does not come to an end."""
        import numpy as np

        chance = random.Random(seed)
        matcher, said = LLMatcher(self._tokens, grammar.compiled, log_level=0), bytearray()
        words = np.zeros((1, (self._tokens.vocab_size + 31) // 32), dtype=np.uint32)
        while len(said) < longest and not matcher.is_stopped():
            matcher.unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)
            assert not matcher.is_error(), f"{bytes(said)!r}: {matcher.get_error()[:200]}"
            bits = np.unpackbits(words[0].view(np.uint8), bitorder="little")
            allowed = [int(byte) for byte in np.flatnonzero(bits[:256])]
            if matcher.is_accepting() and (not allowed or chance.random() < 0.4):
                return said.decode()
            byte = self._choose(allowed, chance, hurried=len(said) > 60)
            assert matcher.consume_token(byte)
            said.append(byte)
        return said.decode() if matcher.is_accepting() else None

    def _choose(self, allowed: list[int], chance: random.Random, *, hurried: bool) -> int:
        """Mostly what is of JSON's own structure and of the names in the schemas; a string must be able to end."""
        assert allowed, "nothing may follow"
        plain = [byte for byte in allowed if chr(byte) in '"}],:abkindxyz019-. {[']
        closing = [byte for byte in allowed if chr(byte) in '"}]']
        if hurried and closing and chance.random() < 0.7:
            return chance.choice(closing)
        return chance.choice(plain if plain and chance.random() < 0.95 else allowed)
