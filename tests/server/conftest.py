from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from serving import served, write_chat_model

import edgelm
from edgelm.errors import EngineError


@pytest.fixture(scope="package")
def model_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chat_model(tmp_path_factory.mktemp("server") / "tiny")


@pytest.fixture(scope="package")
def address(model_directory: Path) -> Iterator[str]:
    with served(model_directory) as address:
        yield address


@pytest.fixture(scope="package")
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="package")
def model(model_directory: Path) -> Iterator[edgelm.Model]:
    """The same model without a server: what its answers are."""
    with edgelm.load(model_directory) as model:
        yield model


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> str:
    """Every reply fails behind its first words, with this in the error."""
    own, fault = edgelm.Model.areplies, "the GPU has gone"

    async def replies(self: edgelm.Model, *given: Any) -> Any:
        async for number, event in own(self, *given):
            yield number, event
            if isinstance(event, edgelm.Text):
                raise EngineError(fault)

    monkeypatch.setattr(edgelm.Model, "areplies", replies)
    return fault
