"""Adapters by request: named, listed, told apart, and refused by name; in every API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anthropic
import httpx
import ollama
import openai
import pytest
from lora_adapters import write_lora
from serving import served, write_chat_model

import edgelm
from edgelm import paths
from edgelm.library.identity import weights_identity
from edgelm.model.load import load

MESSAGES = [{"role": "user", "content": "Tell me a tale of two cities, and of the sea."}]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, adapters for it, one for another, and a full fine-tune."""
    home = tmp_path_factory.mktemp("home")
    model = write_chat_model(home / "tiny")
    network, made_for = load(model).network, {"base": "tiny", "base_sha256": weights_identity(model)}
    library = home / "adapters"
    for seed, name in ((1, "one"), (2, "two"), (5, "with+plus")):
        write_lora(library / name, network, seed=seed, size=1.0, **made_for)
    write_lora(library / "foreign", network, base="/somewhere/else/other", base_sha256="0" * 64)
    config = write_lora(library / "whole", network, **made_for) / "adapter_config.json"
    config.write_text(config.read_text().replace('"lora"', '"full"', 1))
    (write_lora(library / "broken", network) / "adapter_config.json").write_text("{")
    return home


@pytest.fixture(autouse=True)
def _at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGELM_HOME", str(home))
    assert paths.adapters() == home / "adapters"


@pytest.fixture(scope="module")
def address(home: Path) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("EDGELM_HOME", str(home))
        with served(home / "tiny") as address:
            yield address


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        yield client


def said(client: openai.OpenAI, model: str, **more: object) -> str:
    reply = client.chat.completions.create(
        model=model,
        messages=MESSAGES,
        max_tokens=8,
        temperature=0,
        extra_body=more,  # type: ignore[arg-type]
    )
    assert reply.model == "+".join([model, *([str(more["adapter"])] if more else [])])
    return reply.choices[0].message.content or ""


def test_each_request_is_answered_under_the_adapters_it_names(client: openai.OpenAI, home: Path) -> None:
    with edgelm.load(home / "tiny") as model:
        chosen = {"": None, "one": "one", "two": "two", "one+two": ["one", "two"], "with+plus": "with+plus"}
        texts = {}
        for name, adapter in chosen.items():
            texts[name] = (
                model.chat(adapter=adapter).send(MESSAGES[0]["content"], max_tokens=8, greedy=True).text
            )
        assert model.adapters == {}
    assert len(set(texts.values())) == 5
    for name, text in texts.items():
        assert said(client, "+".join(filter(None, ["tiny", name]))) == text
    assert said(client, "tiny", adapter="two") == texts["two"]
    assert said(client, "tiny+one", adapter="two") == texts["one+two"]


def test_models_and_what_was_made_for_them_are_listed(client: openai.OpenAI, address: str) -> None:
    listed = {model.id: getattr(model, "parent", None) for model in client.models.list()}
    assert listed == {"tiny": None, "tiny+one": "tiny", "tiny+two": "tiny", "tiny+with+plus": "tiny"}
    assert client.models.retrieve("tiny+one").id == "tiny+one"
    with anthropic.Anthropic(base_url=address, api_key="none") as other:
        assert "tiny+two" in [model.id for model in other.models.list()]
    with ollama.Client(address) as third:
        parents = {model.model: model.details and model.details.parent_model for model in third.list().models}
        assert parents == {f"{name}:latest": parent or "" for name, parent in listed.items()}
        assert third.show("tiny+one:latest").modified_at is not None
        assert third.generate("tiny+one", keep_alive=0).done_reason == "unload"
        assert third.ps().models == []


def test_other_apis_name_them_the_same_way(client: openai.OpenAI, address: str) -> None:
    expected = said(client, "tiny+one")
    with anthropic.Anthropic(base_url=address, api_key="none", max_retries=0) as other:
        reply = other.messages.create(
            model="tiny+one",
            messages=MESSAGES,  # type: ignore[arg-type]
            max_tokens=8,
            extra_body={"temperature": 0},
        )
    assert "".join(block.text for block in reply.content if block.type == "text") == expected
    body = {
        "model": "tiny+one",
        "messages": MESSAGES,
        "stream": False,
        "options": {"temperature": 0, "num_predict": 8},
    }
    assert httpx.post(f"{address}/api/chat", json=body).json()["message"]["content"] == expected


@pytest.mark.parametrize(
    ("model", "adapter", "status", "words"),
    [
        ("tiny+three", None, 404, "no adapter 'three' here (adapters of tiny are one, two, with+plus)"),
        ("tiny", "three", 404, "no adapter 'three'"),
        ("tiny", "", 404, "no adapter ''"),
        ("tiny+", None, 404, "no adapter ''"),
        ("tiny+one+", None, 404, "no adapter ''"),
        ("other+one", None, 404, "no model 'other+one'"),
        ("tiny+foreign", None, 400, "adapter 'foreign' was made for 'other', not for 'tiny'"),
        ("tiny+one+foreign", None, 400, "'foreign' was made for 'other'"),
        ("tiny", "whole", 400, "'whole' is a full fine-tune"),
        ("tiny", "broken", 400, "adapter 'broken' is broken"),
        ("tiny", "one+one", 400, "adapter one is named twice"),
        ("tiny", "adapters/one", 404, "no adapter 'adapters/one'"),
        ("tiny+../adapters/one", None, 404, "no adapter '../adapters/one'"),
        ("tiny", "HOME/adapters/one", 404, "no adapter"),
        ("tiny", 3, 400, "adapter"),
    ],
)  # fmt: skip
def test_what_cannot_act_is_refused_by_name(
    model: str, adapter: str | None, status: int, words: str, address: str, home: Path
) -> None:
    """No path is one, whether something lies there or not."""
    named = adapter.replace("HOME", str(home)) if isinstance(adapter, str) else adapter
    body = {"model": model, "messages": MESSAGES, "max_tokens": 2, "adapter": named}
    reply = httpx.post(f"{address}/v1/chat/completions", json=body)
    assert reply.status_code == status
    assert words in reply.json()["error"]["message"]
    assert str(home) not in reply.text.replace(f"'{named}'", "")
