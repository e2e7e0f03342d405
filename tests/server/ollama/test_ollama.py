"""Ollama's own client: chats, texts, streams, forms and tools are those of the model without a server, or refused by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import jsonschema
import ollama
import pytest
from serving import served

import edgelm

pytestmark = pytest.mark.slow

ASK: list[Any] = [{"role": "user", "content": "Why is the sky blue?"}]
FEW = {"num_predict": 12, "temperature": 0}
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 99}}, "required": ["n"],
          "additionalProperties": False}  # fmt: skip


@pytest.fixture(scope="module")
def llama(address: str) -> Iterator[ollama.Client]:
    with ollama.Client(address) as client:
        yield client


def weather(days: int) -> str:
    """Tell the weather.

    Args:
        days: how many days.
    """
    return f"rain for {days} days"


def test_an_answer_is_the_models_own(llama: ollama.Client, model: edgelm.Model) -> None:
    answer = llama.chat(
        "tiny", ASK, options={"num_predict": 12, "temperature": 0.8, "seed": 7, "num_ctx": 4096}
    )
    expected = model.chat().send(ASK[0]["content"], temperature=0.8, seed=7, max_tokens=12)
    assert answer.message.content == expected.text
    assert (answer.model, answer.message.role, answer.done) == ("tiny", "assistant", True)
    assert answer.done_reason == expected.reason
    assert answer.prompt_eval_count == expected.usage.prompt_tokens
    assert answer.eval_count == expected.usage.completion_tokens
    times = (answer.prompt_eval_duration, answer.eval_duration, answer.load_duration)
    assert all(each is not None and 0 <= each <= (answer.total_duration or 0) for each in times)


def test_a_stream_is_the_answer_in_lines(address: str, llama: ollama.Client) -> None:
    whole = llama.chat("tiny:latest", ASK, options=FEW)
    parts = list(llama.chat("tiny:latest", ASK, options=FEW, stream=True))
    assert "".join(part.message.content or "" for part in parts) == whole.message.content
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].eval_count == whole.eval_count
    # Where nothing is said of it, the answer is a stream.
    lines = httpx2.post(
        f"{address}/api/chat", json={"model": "tiny", "messages": ASK, "options": FEW}, timeout=60
    )
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert len(lines.text.splitlines()) == len(parts)


def test_a_text_is_answered_and_a_raw_one_goes_on(llama: ollama.Client, model: edgelm.Model) -> None:
    answer = llama.generate("tiny", "Why?", system="Be brief.", options=FEW)
    assert answer.response == model.chat(system="Be brief.").send("Why?", greedy=True, max_tokens=12).text
    raw = llama.generate("tiny", "Once upon", raw=True, options=FEW)
    assert raw.response == model.generate("Once upon", greedy=True, max_tokens=12).text
    streamed = llama.generate("tiny", "Once upon", raw=True, options=FEW, stream=True)
    assert "".join(part.response or "" for part in streamed) == raw.response


def test_forms_are_enforced(llama: ollama.Client) -> None:
    options = {"num_predict": 60, "temperature": 1, "seed": 1}
    jsonschema.validate(
        json.loads(llama.chat("tiny", ASK, format=SCHEMA, options=options).message.content or ""), SCHEMA
    )
    jsonschema.validate(
        json.loads(llama.generate("tiny", "x", format=SCHEMA, options=options).response or ""), SCHEMA
    )
    assert (llama.chat("tiny", ASK, format="json", options=options).message.content or "").startswith("{")


def test_options_are_heard(llama: ollama.Client, model: edgelm.Model) -> None:
    whole = llama.chat("tiny", ASK, options={**FEW, "num_predict": 30}).message.content or ""
    letter = next(c for c in whole[1:] if c.isascii() and c.isprintable() and c != whole[0])
    cut = llama.chat("tiny", ASK, options={**FEW, "num_predict": 30, "stop": [letter]})
    assert (cut.message.content, cut.done_reason) == (whole.partition(letter)[0], "stop")
    penalised = llama.chat(
        "tiny", ASK, options={**FEW, "repeat_penalty": 1.5, "repeat_last_n": -1}
    ).message.content
    expected = model.chat().send(
        ASK[0]["content"], temperature=0.0, max_tokens=12, repetition_penalty=1.5, repetition_window=1 << 31
    )
    assert penalised == expected.text


def test_log_probabilities(llama: ollama.Client) -> None:
    answer = llama.chat("tiny", ASK, options=FEW, logprobs=True, top_logprobs=2)
    assert answer.logprobs is not None
    assert len(answer.logprobs) == 12
    assert all(len(token.top_logprobs or ()) == 2 and token.logprob <= 0 for token in answer.logprobs)
    parts = llama.chat("tiny", ASK, options=FEW, logprobs=True, stream=True)
    assert [each.token for part in parts for each in part.logprobs or ()] == [
        each.token for each in answer.logprobs
    ]


def test_a_loop_of_tools(llama: ollama.Client) -> None:
    call = {"function": {"name": "weather", "arguments": {"days": 2}}}
    turns = [
        *ASK,
        {"role": "assistant", "tool_calls": [call, call]},
        {"role": "tool", "tool_name": "weather", "content": weather(2)},
        {"role": "tool", "tool_name": "weather", "content": weather(2)},
    ]
    assert llama.chat("tiny", turns, tools=[weather], options=FEW).message.content


def test_a_model_is_loaded_and_let_go(model_directory: Path) -> None:
    with served(model_directory) as at, ollama.Client(at) as client:
        loaded = client.generate("tiny")
        assert (loaded.done, loaded.done_reason, loaded.response) == (True, "load", "")
        [running] = client.ps().models
        assert (running.model, running.context_length) == ("tiny:latest", 100_000)
        assert client.chat("tiny", ASK, options=FEW, keep_alive="0s").done_reason == "length"
        assert client.ps().models == []
        assert client.chat("tiny", []).done_reason == "load"
        assert client.chat("tiny", [], keep_alive=0).done_reason == "unload"
        assert client.ps().models == []


def test_what_is_told_of_models(llama: ollama.Client, address: str, model_directory: Path) -> None:
    [listed] = llama.list().models
    assert listed.model == "tiny:latest"
    assert listed.details is not None
    assert (listed.details.family, listed.details.format) == ("llama", "safetensors")
    assert len(listed.digest or "") == 64
    shown = llama.show("tiny")
    assert shown.modelinfo is not None
    assert shown.modelinfo["general.architecture"] == "llama"
    assert shown.modelinfo["llama.context_length"] == 100_000
    assert shown.modelinfo["general.parameter_count"] > 0
    assert shown.capabilities == ["completion", "tools", "thinking"]
    assert str(model_directory) not in shown.model_dump_json()
    assert (
        httpx2.post(f"{address}/api/show", json={"name": "tiny:latest"}).json()["template"] == shown.template
    )
    assert httpx2.get(f"{address}/api/version").json()["version"].count(".") == 2
    assert httpx2.head(address).status_code == 200
    assert "running" in httpx2.get(address).text


PICTURE = {"role": "user", "content": "x", "images": ["aGk="]}
REFUSED: list[tuple[str, str, dict[str, Any], str]] = [
    ("temperature", "chat", {"options": {"temperature": -1}}, "temperature"),
    ("kind of option", "chat", {"options": {"num_predict": "many"}}, "num_predict"),
    ("penalty", "chat", {"options": {"repeat_penalty": 0}}, "options.repeat_penalty"),
    ("size of a context", "chat", {"options": {"num_ctx": "large"}}, "options.num_ctx"),
    ("sampler", "chat", {"options": {"mirostat": 2}}, "options.mirostat"),
    ("schema", "chat", {"format": {"not": {}}}, "not"),
    ("form beside tools", "chat", {"format": "json", "tools": [weather]}, "format"),
    ("role", "chat", {"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
    ("picture", "chat", {"messages": [PICTURE]}, "messages[0].images"),
    ("log-probabilities", "chat", {"top_logprobs": 2}, "top_logprobs"),
    ("duration", "chat", {"keep_alive": "soon"}, "keep_alive"),
    ("picture of a text", "generate", {"prompt": "x", "images": [b"hi"]}, "images"),
    ("suffix", "generate", {"prompt": "x", "suffix": "y"}, "suffix"),
    ("template", "generate", {"prompt": "x", "template": "{{ .Prompt }}"}, "template"),
    ("context", "generate", {"prompt": "x", "context": [1]}, "context"),
    ("raw", "generate", {"prompt": "x", "raw": True, "system": "y"}, "raw"),
    ("too long", "generate", {"prompt": "x" * 100_001}, "100"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "fields", "name"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_what_cannot_be_met_is_refused_by_name(
    llama: ollama.Client, kind: str, fields: dict[str, Any], name: str
) -> None:
    given = {"messages": ASK, **fields} if kind == "chat" else fields
    for stream in (False, True):
        with pytest.raises(ollama.ResponseError) as refusal:
            list(getattr(llama, kind)(model="tiny", stream=stream, **given))
        assert refusal.value.status_code == 400
        assert name in refusal.value.error


def test_a_model_that_is_not_served(llama: ollama.Client) -> None:
    for ask in (
        lambda: llama.chat("other", ASK),
        lambda: llama.generate("other", "x"),
        lambda: llama.show("other"),
    ):
        with pytest.raises(ollama.ResponseError, match="tiny") as refusal:
            ask()
        assert refusal.value.status_code == 404


def test_models_are_not_changed_and_nothing_is_embedded(llama: ollama.Client) -> None:
    changes = (
        lambda: llama.pull("x"), lambda: llama.push("x"), lambda: llama.delete("tiny"), lambda: llama.copy("tiny", "x"),
        lambda: llama.create("x", from_="tiny"),
    )  # fmt: skip
    for change in changes:
        with pytest.raises(ollama.ResponseError, match="not done over the API") as refusal:
            change()
        assert refusal.value.status_code == 403
    for embed in (lambda: llama.embed("tiny", "x"), lambda: llama.embeddings("tiny", "x")):
        with pytest.raises(ollama.ResponseError, match="no embeddings"):
            embed()


def test_an_error_in_the_middle_is_a_line_and_no_end(llama: ollama.Client, failing: str) -> None:
    with pytest.raises(ollama.ResponseError, match=failing):
        list(llama.chat("tiny", ASK, options=FEW, stream=True))
    with pytest.raises(ollama.ResponseError, match=failing) as refusal:
        llama.generate("tiny", "x", options=FEW)
    assert refusal.value.status_code == 500
