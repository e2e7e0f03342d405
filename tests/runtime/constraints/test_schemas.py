"""Fifty schemas: whatever a network would say, what it says is complete and valid at every temperature.

Judged by `jsonschema`, which shares no code with what enforces them. Random networks give no help.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from edgelm.runtime.constraints.grammar import Grammar
from edgelm.runtime.engine import Engine
from edgelm.runtime.generation.completion import Completion, collect
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.runtime.generation.text import generate_text

Named = tuple[str, dict[str, Any]]


def judge(schema: dict[str, Any], reply: Completion) -> None:
    assert reply.reason == "stop", reply.text
    judge = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    assert not list(judge.iter_errors(reply.parsed)), reply.text


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.0, 1.0, 2.0])
def test_a_random_network_writes_valid_json(
    named_schema: Named, temperature: float, tokenizer: Any, build_network: Callable[[str], Any]
) -> None:
    _, schema = named_schema
    engine = Engine(build_network("llama"), vocab_size=300)
    options = GenerationOptions(max_tokens=1500, enable_thinking=False).changed(
        schema=schema, temperature=temperature, seed=3
    )
    events = generate_text(
        engine,
        tokenizer,
        [72, 105],
        options,
        threading.Event(),
        stop_tokens=frozenset(tokenizer.eos_token_ids),
    )
    judge(schema, collect(events, options.grammar))


@pytest.fixture(scope="module")
def small_model(smollm2: Path) -> Any:
    import edgelm

    with edgelm.load(str(smollm2)) as model:
        yield model


@pytest.mark.real
def test_a_real_model_writes_valid_json(named_schema: Named, small_model: Any) -> None:
    """Each at one of the temperatures; `tests/benchmarks/structured.py` runs all."""
    name, schema = named_schema
    temperature = (0.0, 1.0, 2.0)[len(name) % 3]
    chat = small_model.chat()
    prompt = "Give me an example as JSON."
    judge(schema, chat.send(prompt, schema=schema, temperature=temperature, seed=5, max_tokens=600))


def test_the_schemas_are_fifty_and_plain(named_schema: Named) -> None:
    _, schema = named_schema
    Draft202012Validator.check_schema(schema)
    assert Grammar.from_schema(schema).kind == "schema"
