"""The application inside another one, whose lifespan is the only one that is run."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from edgelm.server.run import asgi_app

pytestmark = pytest.mark.slow


def test_mounted_below_a_path(model_directory: Path) -> None:
    inner = asgi_app(
        model_directory, model_settings={"disk_cache": False}, api_key="k", hosts=("testserver",)
    )
    outer = Starlette(routes=[Mount("/ai", app=inner)])
    with TestClient(outer, headers={"x-api-key": "k"}) as client:
        assert client.get("/ai/health", headers={"x-api-key": ""}).json() == {"status": "ok"}
        assert client.get("/ai/v1/models", headers={"x-api-key": ""}).status_code == 401
        assert client.get("/health").status_code == 404
        body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 2}
        for _ in range(2):
            assert client.post("/ai/v1/chat/completions", json=body).status_code == 200
        assert "edgelm_replies_under_way 0.0" in client.get("/ai/metrics").text
        assert client.get("/ai/v1/nowhere").json()["error"]["message"] == "there is no /ai/v1/nowhere here"
