"""What goes wrong with one request is no other's business: askers that go, errors in the middle, a server told to stop."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from serving import served
from waiting import wait_for

import edgelm
from edgelm.errors import EngineError

pytestmark = pytest.mark.slow

LONG: dict[str, Any] = {
    "messages": [{"role": "user", "content": "x"}], "max_tokens": 50_000, "logit_bias": {"256": -100}, "stream": True,
}  # fmt: skip


def under_way(address: str) -> float:
    lines = httpx2.get(f"{address}/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith("edgelm_replies_under_way")).split()[1])


@pytest.mark.parametrize("stream", [True, False])
def test_a_reply_ends_when_its_asker_goes(address: str, client: openai.OpenAI, stream: bool) -> None:
    body = {**LONG, "stream": stream}
    if stream:
        with httpx2.stream("POST", f"{address}/v1/chat/completions", json=body, timeout=60) as answer:
            lines = answer.iter_lines()  # the connection ends with it
            next(lines)
            assert under_way(address) == 1
    else:
        with pytest.raises(httpx2.ReadTimeout):
            httpx2.post(f"{address}/v1/chat/completions", json=body, timeout=0.3)
    wait_for(lambda: under_way(address) == 0)
    assert client.chat.completions.create(model="tiny", messages=LONG["messages"], max_tokens=2).choices


def test_an_error_in_the_middle_is_told_and_ends_no_other(
    address: str, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = edgelm.Model.areplies

    async def failing(self: edgelm.Model, *given: Any) -> Any:
        async for number, event in own(self, *given):
            yield number, event
            if isinstance(event, edgelm.Text):
                raise EngineError("the GPU has gone")

    with httpx2.stream("POST", f"{address}/v1/chat/completions", json=LONG, timeout=60) as other:
        lines = other.iter_lines()
        next(lines)
        monkeypatch.setattr(edgelm.Model, "areplies", failing)
        with pytest.raises(openai.APIError, match="the GPU has gone"):
            list(
                client.chat.completions.create(
                    model="tiny", messages=LONG["messages"], max_tokens=9, stream=True
                )
            )
        with pytest.raises(openai.InternalServerError, match="the GPU has gone"):
            client.chat.completions.create(model="tiny", messages=LONG["messages"], max_tokens=9)
        monkeypatch.undo()
        assert sum(next(lines).startswith("data: ") for _ in range(30)) > 5


def test_many_at_once_are_each_answered_as_alone(client: openai.OpenAI) -> None:
    def ask(seed: int) -> str | None:
        answer = client.chat.completions.create(
            model="tiny", messages=LONG["messages"], max_tokens=4 + seed, temperature=1.0, seed=seed
        )
        return answer.choices[0].message.content

    alone = [ask(seed) for seed in range(8)]
    together: dict[int, str | None] = {}
    threads = [threading.Thread(target=lambda s=seed: together.update({s: ask(s)})) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[seed] for seed in range(8)] == alone


def test_a_model_is_loaded_when_it_is_asked_for(
    model_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGELM_HOME", str(model_directory.parent / "home"))
    library = model_directory.parent / "home" / "models"
    library.mkdir(parents=True)
    for name in ("one", "two"):
        (library / name).symlink_to(model_directory)
    with served() as address, openai.OpenAI(base_url=f"{address}/v1", api_key="x", max_retries=0) as client:
        assert "edgelm_models_loaded 0.0" in httpx2.get(f"{address}/metrics").text
        for name in ("one", "two", "one"):
            answer = client.chat.completions.create(model=name, messages=LONG["messages"], max_tokens=1)
            assert answer.model == name
        assert "edgelm_models_loaded 2.0" in httpx2.get(f"{address}/metrics").text
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="", messages=LONG["messages"])
