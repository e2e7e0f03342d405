"""What befalls a server that many live on: memory that runs out, models that cannot be loaded, steps that stand still."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from serving import served
from waiting import wait_for

import edgelm
from edgelm.runtime.runner import ModelRunner
from edgelm.server import run as server_run
from edgelm.server.stalls import StallWatch

pytestmark = pytest.mark.slow

CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {
    "messages": [{"role": "user", "content": "x"}],
    "max_tokens": 4,
    "logit_bias": {"256": -100},
}


def metric(address: str, name: str) -> float:
    lines = httpx2.get(f"{address}/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


def ask(address: str, **more: Any) -> httpx2.Response:
    return httpx2.post(f"{address}{CHAT}", json={**BODY, **more}, timeout=60)


def when_called(monkeypatch: pytest.MonkeyPatch, do: Callable[[], object], *, times: int = 1) -> None:
    """Have something done before the next steps of a network."""
    own, left = ModelRunner.step, [times]

    def step(self: ModelRunner, *given: Any, **named: Any) -> Any:
        if left[0]:
            left[0] -= 1
            do()
        return own(self, *given, **named)

    monkeypatch.setattr(ModelRunner, "step", step)


def raised(error: Exception) -> Callable[[], object]:
    def do() -> None:
        raise error

    return do


def test_memory_that_runs_out_is_told_and_the_server_stays(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in (RuntimeError("[metal::malloc] Unable to allocate: out of memory"), MemoryError()):
        when_called(monkeypatch, raised(error))
        answer = ask(address)
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "out_of_memory"
        assert ask(address).status_code == 200
    when_called(monkeypatch, raised(RuntimeError("[matmul] shapes do not fit")))
    assert ask(address).status_code == 500
    assert ask(address).status_code == 200
    assert metric(address, "edgelm_replies_under_way") == 0


def test_who_goes_while_the_prompt_is_computed(address: str) -> None:
    gone = metric(address, "edgelm_disconnects_total")
    long = {**BODY, "messages": [{"role": "user", "content": "y" * 60_000}], "stream": True}
    with httpx2.stream("POST", f"{address}{CHAT}", json=long, timeout=60) as answer:
        lines = answer.iter_lines()
        while next(lines) != ": working":
            pass
    wait_for(lambda: metric(address, "edgelm_replies_under_way") == 0)
    assert metric(address, "edgelm_disconnects_total") == gone + 1
    assert ask(address).status_code == 200


class Loader:
    """Loads models; the one called "two" when it may."""

    def __init__(self) -> None:
        self.may, self.asked, self.loads = threading.Event(), threading.Event(), 0
        self._own = edgelm.load

    def __call__(self, directory: Path, **given: Any) -> edgelm.Model:
        if directory.name == "two":
            self.loads += 1
            self.asked.set()
            self.may.wait(60)
        return self._own(directory, **given)


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch) -> Loader:
    loader = Loader()
    monkeypatch.setattr(server_run, "load", loader)
    return loader


@pytest.fixture
def library(home: Path, model_directory: Path, loader: Loader) -> Iterator[str]:
    """A server of a library: two models, and one that is broken."""
    folder = home / "models"
    folder.mkdir(parents=True)
    for name in ("one", "two"):
        (folder / name).symlink_to(model_directory)
    broken = folder / "broken"
    broken.mkdir()
    for file in model_directory.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    config = json.loads((broken / "config.json").read_text(encoding="utf-8"))
    config["num_hidden_layers"] += 1
    (broken / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with served() as address:
        yield address


def test_a_load_holds_up_no_stream_and_goes_on_without_its_asker(library: str, loader: Loader) -> None:
    long = {**BODY, "model": "one", "max_tokens": 50_000, "stream": True}
    with httpx2.stream("POST", f"{library}{CHAT}", json=long, timeout=60) as answer:
        lines = answer.iter_lines()
        next(lines)
        with pytest.raises(httpx2.ReadTimeout):
            httpx2.post(f"{library}{CHAT}", json={**BODY, "model": "two"}, timeout=0.5)
        assert loader.asked.wait(60)
        assert sum(next(lines).startswith("data: ") for _ in range(100)) >= 40
        assert ask(library, model="one").status_code == 200
        wait_for(lambda: metric(library, "edgelm_replies_under_way") == 1)
        loader.may.set()
        wait_for(lambda: metric(library, "edgelm_models_loaded") == 2)
    assert ask(library, model="two").status_code == 200
    assert loader.loads == 1, "it was loaded for an asker who had gone, and stayed"


def test_a_model_that_cannot_be_loaded(library: str, loader: Loader) -> None:
    assert ask(library, model="one").status_code == 200
    for _ in range(2):
        answer = ask(library, model="broken")
        assert answer.status_code == 500, answer.text
        assert answer.json()["error"]["message"].startswith("broken cannot be loaded: ")
    assert ask(library, model="one").status_code == 200
    assert metric(library, "edgelm_replies_under_way") == 0


def test_a_model_that_stands_still_is_told(model_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may = threading.Event()
    when_called(monkeypatch, lambda: may.wait(60))
    with served(model_directory, stall_s=1) as address:
        asking = threading.Thread(target=ask, args=(address,))
        assert metric(address, "edgelm_stalled_seconds") == 0
        asking.start()
        wait_for(lambda: httpx2.get(f"{address}/health").status_code == 503)
        assert httpx2.get(f"{address}/health").json() == {"status": "stalled"}
        assert metric(address, "edgelm_stalled_seconds") > 1
        may.set()
        asking.join()
        assert httpx2.get(f"{address}/health").json() == {"status": "ok"}
        assert metric(address, "edgelm_stalled_seconds") == 0


def test_the_log_says_once_that_a_model_stalls(caplog: pytest.LogCaptureFixture) -> None:
    class Standing:
        name, stalled_s = "tiny", 500.0

        @property
        def model(self) -> Standing:
            return self

    class Loaded:
        def __init__(self) -> None:
            self.loaded = [Standing()]

    models = Loaded()
    watch = StallWatch(models, 120)  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            watch.look()
        models.loaded[0].stalled_s = 0.0
        watch.look()
    assert [record.getMessage() for record in caplog.records] == [
        "tiny stalls: no step has ended for 500 s, and there is work",
        "tiny goes on again",
    ]
