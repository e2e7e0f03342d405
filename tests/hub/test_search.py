"""The search of the Hub, on a local one."""

from __future__ import annotations

import pytest
from fake_hub import FakeHub

from edgelm.errors import NetworkError
from edgelm.hub.search import search_models


def test_models_are_found_and_described(fake_hub: FakeHub) -> None:
    fake_hub.add("org/tiny-mlx", {}, tags=["mlx"])
    fake_hub.add("org/tiny-GGUF", {}, tags=["gguf"], gated=True)
    fake_hub.add("org/other", {})
    mlx, gguf = search_models("tiny")
    assert (mlx.id, mlx.is_mlx, mlx.is_gguf, mlx.is_gated, mlx.downloads) == (
        "org/tiny-mlx",
        True,
        False,
        False,
        7,
    )
    assert (gguf.is_mlx, gguf.is_gguf, gguf.is_gated) == (False, True, True)
    assert search_models("nothing") == []


def test_a_hub_that_refuses(fake_hub: FakeHub) -> None:
    fake_hub.fail["api"] = 403
    with pytest.raises(NetworkError, match="answered 403 for the search for 'x'"):
        search_models("x")
