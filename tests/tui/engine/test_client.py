"""The client of the engine: what a load that was given up still has to say is not heard."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scripted_engine import ScriptedEngine
from waiting import wait_for

from edgelm_tui.engine.client import EngineClient
from edgelm_tui.engine.events import ClientEvent, Failed, FitKnown, Library, Loaded, Loading


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def client(engine: ScriptedEngine) -> Iterator[EngineClient]:
    made = EngineClient(engine.load, lambda: ["tiny"], lambda name: FitKnown(name, "fits", ""))
    made.start()
    yield made
    assert made.close(60)


def settled(client: EngineClient) -> None:
    """Everything that was asked for is done; its events wait."""
    seen: list[bool] = []
    client._tasks.put(lambda: seen.append(True))
    wait_for(lambda: seen, "the client's thread")


def heard(client: EngineClient) -> list[ClientEvent]:
    return [event for event in client.drain() if not isinstance(event, Library)]


def test_a_load(client: EngineClient) -> None:
    client.load("tiny")
    settled(client)
    began, loaded = heard(client)
    assert began == Loading("tiny")
    assert isinstance(loaded, Loaded)


@pytest.mark.parametrize("give_up", [EngineClient.stop_loading, EngineClient.unload])
@pytest.mark.parametrize("name", ["tiny", "missing"])
def test_a_load_that_ended_before_it_was_given_up_is_not_heard_of(
    client: EngineClient, engine: ScriptedEngine, name: str, give_up: Callable[[EngineClient], None]
) -> None:
    client.load(name)
    settled(client)
    give_up(client)
    assert heard(client) == []
    settled(client)
    assert all(model.closed for model in engine.models)
    assert heard(client) == []


def test_the_load_after_one_that_was_given_up_keeps_its_model(
    client: EngineClient, engine: ScriptedEngine
) -> None:
    client.load("tiny")
    settled(client)
    client.stop_loading()
    client.load("tiny")
    settled(client)
    events = heard(client)  # lets the first go, which is the second by now
    settled(client)
    assert [type(event) for event in events] == [Loading, Loaded]
    assert [model.closed for model in engine.models] == [False]


def test_a_failure_is_heard(client: EngineClient) -> None:
    client.load("missing")
    settled(client)
    assert [type(event) for event in heard(client)] == [Loading, Failed]


def test_a_model_is_loaded_again_where_a_full_fine_tune_comes_or_goes(
    client: EngineClient, engine: ScriptedEngine, tmp_path: Path
) -> None:
    for kind in ("full", "lora"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "adapter_config.json").write_text(json.dumps({"fine_tune_type": kind}))
    full, lora = str(tmp_path / "full"), str(tmp_path / "lora")
    for adapter in (None, lora, full, full, lora, None, full, None):
        client.load("tiny", adapter)
        settled(client)
        assert [event.adapter for event in heard(client) if isinstance(event, Loaded)] == [adapter]
        assert engine.models[-1].adapter == adapter
    # base and lora; full, twice; lora and base; full; base
    assert [model.closed for model in engine.models] == [True, True, True, True, False]
