"""Two images behind equal placeholders never share what was computed of them; equal ones do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from edgelm.errors import PromptError
from edgelm.runtime.cache.disk import DiskCache
from edgelm.runtime.cache.pool import Pool
from edgelm.runtime.engine import Engine
from edgelm.runtime.events import Finished
from edgelm.runtime.prompt import Media, Prompt
from edgelm.runtime.requests import Request
from edgelm.zoo.caches.maker import layer_maker

PLACEHOLDER = 42
TEXT = tuple(range(60, 100))


def asks(content: bytes, *, start: int = 40, tokens: int = 40, after: int = 7) -> Prompt:
    ids = (*TEXT, *[PLACEHOLDER] * 40, after, 8, 9)
    return Prompt(ids, (Media(start, tokens, content),))


def test_keys_are_those_of_content_place_and_length() -> None:
    cat, dog = asks(b"cat").keys(), asks(b"dog").keys()
    assert cat == asks(b"cat").keys()
    assert cat[:40] == dog[:40] == list(TEXT)
    assert cat[80:] == dog[80:] == [7, 8, 9]
    assert not set(cat[40:80]) & set(dog[40:80])
    assert len(set(cat[40:80])) == 40
    assert max(cat[40:80]) < -1  # no token's id, and not what marks a guess that was not read
    assert not set(cat[40:80]) & set(asks(b"cat", tokens=10).keys())  # another scale of the same image
    assert Prompt(TEXT).keys() == list(TEXT)


@pytest.mark.parametrize("media", [[(-1, 2)], [(39, 2)], [(3, 0)], [(3, 5), (7, 2)]])
def test_media_stand_in_the_prompt(media: list[tuple[int, int]]) -> None:
    with pytest.raises(PromptError, match="expected a place of their own among 40 tokens"):
        Prompt(TEXT, tuple(Media(start, tokens, b"x") for start, tokens in media))


def computed(network: Any, prompt: Prompt) -> list[Any]:
    layers = layer_maker(network)()
    network(mx.array([list(prompt)]), cache=layers)
    return layers


def test_the_pool_tells_them_apart(network: Any) -> None:
    pool = Pool(layer_maker(network), budget_bytes=1 << 26)
    pool.store("", asks(b"cat").keys(), computed(network, asks(b"cat")))
    assert pool.match("", asks(b"dog").keys()).length == 40
    assert pool.match("", asks(b"cat").keys()).length == 83
    assert pool.match("", asks(b"cat", after=1).keys()).length == 80
    pool.store("", asks(b"dog").keys(), computed(network, asks(b"dog")))
    assert pool.match("", asks(b"dog", after=1).keys()).length == 80


def test_the_disk_tells_them_apart(network: Any, tmp_path: Path) -> None:
    def opened() -> Pool:
        disk = DiskCache(tmp_path, "key", budget_bytes=1 << 30, smallest=8)
        return Pool(layer_maker(network), budget_bytes=1 << 26, disk=disk)

    for content in (b"cat", b"dog"):
        opened().persist("", asks(content).keys(), computed(network, asks(content)))
    pool = opened()
    for content in (b"cat", b"dog"):
        layers, known = pool.load("", asks(content, after=1).keys())
        assert known == 80
        assert layers[0].offset == 80
    assert pool.load("", asks(b"bird").keys())[1] == 40


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "sliding"])
def test_an_engine_computes_another_image_again(build_network: Callable[[str], Any], kind: str) -> None:
    """By itself, from the sequence before and from the pool."""
    engine = Engine(build_network(kind), vocab_size=300)

    def cached(prompt: Prompt) -> int:
        *_, last = engine.generate(Request(prompt, max_tokens=30), threading.Event())
        assert isinstance(last, Finished)
        return last.usage.cached_tokens

    assert cached(asks(b"cat")) == 0
    assert cached(asks(b"cat")) >= 80
    assert cached(asks(b"dog")) <= 40
    assert cached(asks(b"cat")) >= 80
