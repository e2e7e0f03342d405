"""A schema by chance is refused by an error of edgelm's, or whatever is written by it is valid, as jsonschema judges."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from random_schemas import SCHEMAS, Walker

from edgelm.errors import OptionError, UnsupportedError
from edgelm.runtime.constraints.grammar import Grammar

WALKER = Walker()


@pytest.mark.slow
@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(schema=SCHEMAS, seed=st.integers(0, 1 << 30))
def test_refused_or_enforced(schema: Any, seed: int) -> None:
    try:
        grammar = Grammar.from_schema(schema)
    except (OptionError, UnsupportedError):
        return
    judge = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    for offset in range(6):
        said = WALKER.write(grammar, seed + offset)
        if said is not None:
            assert not list(judge.iter_errors(json.loads(said))), said
