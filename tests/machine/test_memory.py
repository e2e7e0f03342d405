"""A model gives its memory and its thread back: when it is closed, and when nobody holds it any more."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest
from checkpoints import write_checkpoint

import edgelm


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("memory") / "model"
    write_checkpoint(directory, "llama", hidden_size=256, intermediate_size=1024)
    return directory


def engines() -> int:
    return sum(thread.name == "edgelm-engine" for thread in threading.enumerate())


def held() -> tuple[int, int]:
    """Engine threads, and MiB of MLX's arrays; a lost engine may need a moment for its last layer."""
    gc.collect()
    return engines(), round(mx.get_active_memory() / 2**20)


def comes(expected: tuple[int, int], find: Callable[[], tuple[int, int]] = held) -> bool:
    deadline = time.monotonic() + 120
    while find() != expected and time.monotonic() < deadline:
        time.sleep(0.05)
    return find() == expected


@pytest.mark.slow
def test_loading_again_under_one_name_keeps_one_model(directory: Path) -> None:
    before = held()
    model = edgelm.load(directory)
    one = held()
    assert one[0] == before[0] + 1
    assert one[1] > before[1]
    for _ in range(3):
        model = edgelm.load(directory)
    assert comes(one)
    assert model.generate("the", max_tokens=1).tokens
    del model
    assert comes(before)


@pytest.mark.slow
def test_what_is_held_keeps_the_model_and_no_longer(directory: Path) -> None:
    before = held()
    pieces = edgelm.load(directory).events("the water", max_tokens=40)
    next(pieces)
    assert engines() == before[0] + 1
    assert isinstance(list(pieces)[-1], edgelm.Finished)
    del pieces
    assert comes(before)
    chat = edgelm.load(directory).chat()
    assert chat.send("the", max_tokens=2).tokens
    del chat
    assert comes(before)


@pytest.mark.slow
@pytest.mark.parametrize("began", [False, True])
def test_an_abandoned_stream_stops_and_frees(directory: Path, *, began: bool) -> None:
    before = held()
    model = edgelm.load(directory)
    stream = model.events("the water", max_tokens=None, stop=["no such text"])
    if began:
        next(stream)
    del stream
    assert model.generate("the", max_tokens=1).tokens  # the engine is free at once
    batch = model.generate_many(["the", "water"], max_tokens=None)
    if began:
        next(batch)
    del batch, model
    assert comes(before)


@pytest.mark.slow
def test_a_model_lost_in_a_cycle(directory: Path) -> None:
    before = held()
    model = edgelm.load(directory)
    model.friend = [model, model.chat()]  # type: ignore[attr-defined]
    del model
    assert comes(before)


@pytest.mark.slow
def test_closing_gives_the_cache_back(directory: Path) -> None:
    before = held()
    with edgelm.load(directory) as model:
        model.generate("the water on the mountain", max_tokens=20)
        model._thread.call(lambda _: mx.eval(mx.zeros((1024, 1024)) + 1))
    assert held() == before
    assert mx.get_cache_memory() < 2**20


SCRIPT = """
import os, sys
import edgelm
model = edgelm.load(sys.argv[1])
stream = model.stream("the water", max_tokens=None)
next(stream)
{tail}
"""
FORKED = """
stream.close()
child = os.fork()
if child == 0:
    try:
        model.generate("the")
    except edgelm.EngineError as error:
        print("child:", error.message, flush=True)
    del model
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
assert len(model.generate("the", max_tokens=2).tokens) == 2
"""


@pytest.mark.slow
@pytest.mark.parametrize("tail", ["", "del model, stream", "model.me = model; del model, stream", FORKED])
def test_the_interpreter_ends_well(directory: Path, tail: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", SCRIPT.format(tail=tail), str(directory)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("forked" in done.stdout) is (tail == FORKED)
