"""Whoever else is served, a request says what it says alone: 200 of every kind at once against one at a time."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from lora_adapters import write_lora
from serving import served, write_chat_model

from edgelm.adapters.acting.rows import RowGroups
from edgelm.adapters.acting.variant import Variant
from edgelm.model.load import load
from edgelm.runtime import runner

pytestmark = pytest.mark.slow

SYSTEM = "You answer in few words, and never in verse. " * 4
SCHEMAS = [
    {"type": "object", "properties": {"n": {"type": "integer", "maximum": 99, "minimum": 0}}, "required": ["n"]},
    {"enum": ["red", "green", "a longer answer"]},
]  # fmt: skip
MODELS = ["tiny", "tiny", "tiny+one", "tiny+two", "tiny+one+two"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("home")
    network = load(write_chat_model(home / "tiny", num_attention_heads=2, num_key_value_heads=1)).network
    for seed, name in enumerate(("one", "two"), 1):
        write_lora(home / "adapters" / name, network, seed=seed, rank=seed + 1, dora=name == "two")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("EDGELM_HOME", str(home))
        yield home


def body(drawn: random.Random) -> dict[str, Any]:
    """One request: a chat or a text, with one thing or several asked of it."""
    words = drawn.sample(["sea", "cat", "stone", "moon", "seven", "why"], k=drawn.randint(1, 6))
    asked: dict[str, Any] = {"model": drawn.choice(MODELS), "max_tokens": drawn.randint(1, 14)}
    if is_chat := drawn.random() < 0.7:
        begin = [{"role": "system", "content": SYSTEM}] if drawn.random() < 0.5 else []
        asked["messages"] = [*begin, {"role": "user", "content": " ".join(words)}]
    else:
        asked["prompt"] = " ".join(words) * drawn.randint(1, 8)
    if drawn.random() < 0.6:
        asked |= {"temperature": drawn.choice([0.7, 1.3]), "seed": drawn.randrange(1000)}
        asked |= drawn.choice([{}, {"top_p": 0.9}, {"top_k": 20}, {"min_p": 0.02}])
    else:
        asked["temperature"] = 0
    asked |= drawn.choice(
        [{}, {"frequency_penalty": 0.7}, {"presence_penalty": 1.0}, {"repetition_penalty": 1.2}, {"logit_bias": {"40": 5}}]
    )  # fmt: skip
    if drawn.random() < 0.3:
        asked["stop"] = drawn.sample(["e", "J", " ", "the", "0"], k=2)
    if drawn.random() < 0.3:
        asked |= {"logprobs": True, "top_logprobs": 2} if is_chat else {"logprobs": 2}
    if is_chat and drawn.random() < 0.25:
        form = {"name": "form", "schema": drawn.choice(SCHEMAS)}
        asked["response_format"] = {"type": "json_schema", "json_schema": form}
    if drawn.random() < 0.1:
        asked["n"] = 2
    return asked


def answer(client: httpx.Client, asked: dict[str, Any]) -> Any:
    """What was said, token for token where it is told, and how it ended."""
    path = "/v1/chat/completions" if "messages" in asked else "/v1/completions"
    reply = client.post(path, json=asked)
    assert reply.status_code == 200, reply.text
    choices = reply.json()["choices"]
    return [
        (choice.get("text", choice.get("message")), choice["finish_reason"], _tokens(choice["logprobs"]))
        for choice in choices
    ]


def _tokens(logprobs: Any) -> Any:
    if logprobs is None:
        return None
    return logprobs.get("tokens") or [each["token"] for each in logprobs["content"]]


def leave(client: httpx.Client, asked: dict[str, Any]) -> None:
    """Go after the first piece."""
    path = "/v1/chat/completions" if "messages" in asked else "/v1/completions"
    with client.stream("POST", path, json={**asked, "max_tokens": 200, "stream": True}) as reply:
        next(reply.iter_raw())


@contextmanager
def client_of(home: Path, **settings: Any) -> Iterator[httpx.Client]:
    with (
        served(home / "tiny", max_waiting=200, model_settings=settings) as address,
        httpx.Client(base_url=address, timeout=300, limits=httpx.Limits(max_connections=8)) as client,
    ):
        yield client


def check_equality(home: Path, count: int, **settings: Any) -> list[Any]:
    drawn = random.Random(16)
    bodies = [body(drawn) for _ in range(count)]
    leaves = [drawn.random() < 0.1 for _ in bodies]
    with client_of(home, **settings) as client, ThreadPoolExecutor(8) as pool:

        def ask(asked: dict[str, Any], is_left: bool) -> Any:
            return leave(client, asked) if is_left else answer(client, asked)

        together = list(pool.map(ask, bodies, leaves))
    with client_of(home, **settings) as client:
        staying = [
            (asked, said)
            for asked, said, is_left in zip(bodies, together, leaves, strict=True)
            if not is_left
        ]
        for asked, said in staying:
            assert answer(client, asked) == said, asked
    assert len(staying) < count
    return [said for _, said in staying]


def watched(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """How many variants had rows in one call of the network."""
    together = set[int]()

    class Watched(RowGroups):
        def __init__(self, rows: Sequence[Variant]) -> None:
            super().__init__(rows)
            together.add(len(self.groups))

    monkeypatch.setattr(runner, "RowGroups", Watched)
    return together


def test_two_hundred_mixed_requests_at_once_say_what_they_say_one_at_a_time(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = watched(monkeypatch)
    said = check_equality(home, 200)
    assert max(together) == 4  # the base, each adapter, both
    assert {reason for choices in said for _, reason, _ in choices} == {"stop", "length"}
    assert Counter(map(str, said)).most_common(1)[0][1] < len(said) / 4  # they are not all alike


def test_so_it_is_with_a_quantized_kv_cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most = watched(monkeypatch)
    check_equality(home, 40, kv_bits=8)
    assert max(most) > 1
