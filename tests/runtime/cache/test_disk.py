"""The disk: a chat reopens in another process, and no file is believed that is broken, foreign or gone."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from waiting import PATIENCE_S

from edgelm.errors import OutputError
from edgelm.runtime.cache.disk import DiskCache, default_budget_bytes
from edgelm.runtime.cache.pool import Pool
from edgelm.zoo.caches.maker import layer_maker
from edgelm.zoo.caches.settings import CacheSettings

PLENTY = 1 << 30
TEXT = list(range(60))


def pool_of(network: Any, root: Path, *, key: str = "model", budget: int = PLENTY, **settings: Any) -> Pool:
    """As a new process would make it."""
    make = layer_maker(network, CacheSettings(**settings))
    return Pool(make, budget_bytes=PLENTY, disk=DiskCache(root, key, budget_bytes=budget, smallest=1))


def persist(pool: Pool, network: Any, tokens: list[int], variant: str = "") -> None:
    layers = pool._make_layers()
    mx.eval(network(mx.array([tokens]), cache=layers))
    pool.persist(variant, tokens, layers)


def known(pool: Pool, network: Any, tokens: list[int]) -> int:
    """How many of `tokens` are known; what follows them is checked against a cold run."""
    layers, count = pool.load("", tokens[:-1])
    rest = network(mx.array([tokens[count:]]), cache=layers)[0, -1].tolist()
    cold = network(mx.array([tokens]), cache=pool._make_layers())[0, -1].tolist()
    assert rest == pytest.approx(cold, abs=5e-3)
    return count


def files(root: Path) -> list[Path]:
    return sorted(root.glob("*/*.safetensors"))


def test_another_process_goes_on(any_network: Any, tmp_path: Path) -> None:
    persist(pool_of(any_network, tmp_path), any_network, TEXT)
    assert known(pool_of(any_network, tmp_path), any_network, [*TEXT, 5]) == 60


@pytest.mark.parametrize("settings", [{"kv_dtype": "bfloat16"}, {"max_context": 16}], ids=str)
def test_every_kind_of_cache_is_kept(network: Any, tmp_path: Path, settings: dict[str, Any]) -> None:
    persist(pool_of(network, tmp_path, **settings), network, TEXT)
    assert known(pool_of(network, tmp_path, **settings), network, [*TEXT, 5]) == 60


def test_only_what_is_new_is_written(network: Any, tmp_path: Path) -> None:
    pool = pool_of(network, tmp_path)
    persist(pool, network, TEXT[:40])
    first = {path: path.stat().st_mtime_ns for path in files(tmp_path)}
    persist(pool, network, TEXT)
    persist(pool_of(network, tmp_path), network, TEXT)
    assert len(files(tmp_path)) == 2
    assert set(first) < set(files(tmp_path))
    assert pool.size_bytes == 0  # nothing of it stays in memory twice


def test_what_is_not_worth_a_file_waits(network: Any, tmp_path: Path) -> None:
    make = layer_maker(network)
    pool = Pool(
        make, budget_bytes=PLENTY, disk=DiskCache(tmp_path, "model", budget_bytes=PLENTY, smallest=50)
    )
    counts = []
    for length in (30, 45, 60, 90, 115):
        persist(pool, network, [at % 300 for at in range(length)])
        counts.append(len(files(tmp_path)))
    assert counts == [0, 0, 1, 1, 2]


def test_branches_build_on_the_same_files(network: Any, tmp_path: Path) -> None:
    pool = pool_of(network, tmp_path)
    branch = [*TEXT[:30], *range(200, 220)]
    persist(pool, network, TEXT)
    persist(pool, network, branch)
    again = pool_of(network, tmp_path)
    assert known(again, network, [*branch, 1]) == 50
    assert known(again, network, [*TEXT, 1]) == 60
    assert known(again, network, [*TEXT[:12], 299, 299]) == 12


def test_two_writers_who_know_nothing_of_each_other(network: Any, tmp_path: Path) -> None:
    ours, theirs = pool_of(network, tmp_path), pool_of(network, tmp_path)
    ours.match("", TEXT), theirs.match("", TEXT)  # both have looked
    persist(ours, network, TEXT[:40])
    persist(theirs, network, TEXT)
    assert known(pool_of(network, tmp_path), network, [*TEXT, 1]) == 60


def test_another_model_or_adapter_finds_nothing(network: Any, tmp_path: Path) -> None:
    persist(pool_of(network, tmp_path), network, TEXT, variant="adapter")
    assert known(pool_of(network, tmp_path), network, [*TEXT, 1]) == 0
    assert known(pool_of(network, tmp_path, key="other"), network, [*TEXT, 1]) == 0


def test_another_variant_looks_into_no_file_twice(
    network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each adapter that a request names asks the disk once, while others wait."""
    persist(pool_of(network, tmp_path), network, TEXT, variant="adapter")
    pool = pool_of(network, tmp_path)
    assert pool.match("", TEXT).length == 0
    monkeypatch.setattr("edgelm.runtime.cache.disk.read_metadata", None)
    assert pool.match("other", TEXT).length == 0
    monkeypatch.undo()
    assert pool.match("adapter", TEXT).length == len(TEXT)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def lie(path: Path) -> None:
    path.write_bytes(b"\xff" * 8 + path.read_bytes()[8:])


def exchange(path: Path) -> None:
    """Whole and valid, but of another stretch."""
    from safetensors.numpy import load_file, save_file

    arrays = load_file(path)
    save_file({name: value * 2 for name, value in arrays.items()}, path, {"format": "1"})


@pytest.mark.fault
@pytest.mark.parametrize("harm", [flip, cut, lie, exchange, Path.unlink], ids=lambda harm: harm.__name__)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_broken_file_is_dropped(
    network: Any, tmp_path: Path, harm: Callable[[Path], None], when: str
) -> None:
    pool = pool_of(network, tmp_path)
    persist(pool, network, TEXT[:40])
    persist(pool, network, TEXT)
    again = pool_of(network, tmp_path)
    if when == "after":
        again.match("", TEXT)  # the index is read, the file not yet
    second = next(path for path in files(tmp_path) if b'"start":"40"' in path.read_bytes()[:4096])
    harm(second)
    assert known(again, network, [*TEXT, 1]) == 40
    assert not second.exists()
    persist(again, network, TEXT)
    assert known(pool_of(network, tmp_path), network, [*TEXT, 1]) == 60


@pytest.mark.fault
def test_what_builds_on_a_lost_file_is_not_used(network: Any, tmp_path: Path) -> None:
    pool = pool_of(network, tmp_path)
    persist(pool, network, TEXT[:40])
    first = files(tmp_path)[0]
    persist(pool, network, TEXT)
    first.unlink()
    assert known(pool_of(network, tmp_path), network, [*TEXT, 1]) == 0


def test_files_of_other_kinds_are_left_alone(network: Any, tmp_path: Path) -> None:
    persist(pool_of(network, tmp_path), network, TEXT)
    (files(tmp_path)[0].parent / "notes.txt").write_text("mine")
    assert known(pool_of(network, tmp_path), network, [*TEXT, 1]) == 60
    assert (files(tmp_path)[0].parent / "notes.txt").exists()


def test_the_budget_holds_over_all_models(network: Any, tmp_path: Path) -> None:
    persist(pool_of(network, tmp_path), network, TEXT)
    size = files(tmp_path)[0].stat().st_size
    for at, key in enumerate(("a", "b", "c")):
        persist(pool_of(network, tmp_path, key=key, budget=int(2.5 * size)), network, TEXT)
        os.utime(files(tmp_path)[0], ns=(at, at))
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 2.5 * size


def test_what_was_used_lately_stays(network: Any, tmp_path: Path) -> None:
    other = list(range(100, 160))
    pool = pool_of(network, tmp_path)
    persist(pool, network, TEXT)
    persist(pool, network, other)
    size = files(tmp_path)[0].stat().st_size
    for path in files(tmp_path):
        os.utime(path, ns=(1, 1))
    assert known(pool_of(network, tmp_path), network, [*TEXT, 1]) == 60
    small = pool_of(network, tmp_path, budget=int(1.5 * size))
    small._disk.shrink()  # type: ignore[union-attr]
    assert known(pool_of(network, tmp_path), network, [*TEXT, 1]) == 60
    assert known(pool_of(network, tmp_path), network, [*other, 1]) == 0


def test_the_default_budget_follows_the_disk(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    budget = default_budget_bytes(tmp_path / "not" / "yet")
    assert budget == pytest.approx(min(free // 10, 32 << 30), rel=0.05)


def writer_code(root: Path, limit: int | None = None) -> str:
    """A process that writes one stretch after another."""
    bound = "" if limit is None else f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
    return (
        "import resource, random\nfrom pathlib import Path\nimport mlx.core as mx\n"
        "from edgelm.errors import OutputError\n"
        "from edgelm.runtime.cache.disk import DiskCache\n"
        "from edgelm.zoo.caches.maker import layer_maker\n"
        "from edgelm.runtime.cache.pool import Pool\n"
        "from tiny_networks import build\n"
        "network = build('llama')\n"
        "make = layer_maker(network)\n"
        f"pool = Pool(make, budget_bytes=0, disk=DiskCache(Path({str(root)!r}), 'model', budget_bytes=200_000, smallest=1))\n"
        + bound
        + "rng = random.Random()\n"
        "print('ready', flush=True)\n"
        "for _ in range(400):\n"
        "    tokens = [rng.randrange(2) for _ in range(40)]\n"
        "    layers, known = pool.load('', tokens)\n"
        "    if known < 40:\n"
        "        mx.eval(network(mx.array([tokens[known:]]), cache=layers))\n"
        "    try:\n"
        "        pool.persist('', tokens, layers)\n"
        "    except OutputError as error:\n"
        "        print('refused:', error.message, flush=True)\n"
        "        break\n"
    )


def start(code: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.fault
def test_a_killed_writer_leaves_only_whole_files(network: Any, tmp_path: Path) -> None:
    rng = random.Random(1)
    for _ in range(4):
        writer = start(writer_code(tmp_path))
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0.05, 0.4))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        pool = pool_of(network, tmp_path)
        for tokens, span in pool._disk.index(""):  # type: ignore[union-attr]
            assert len(tokens) >= span.end
        for path in files(tmp_path):
            assert pool._disk.read(next(s for _, s in pool._disk.index("") if s.name in path.name))  # type: ignore[union-attr]
    assert files(tmp_path)
    assert not list(tmp_path.glob("*/.*.partial-*"))


@pytest.mark.fault
def test_two_processes_share_a_small_disk(network: Any, tmp_path: Path) -> None:
    writers = [start(writer_code(tmp_path)) for _ in range(2)]
    said = [writer.communicate(timeout=PATIENCE_S)[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    assert said == ["ready\n", "ready\n"]
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 200_000 + 2 * 20_000
    rng = random.Random(0)
    pool = pool_of(network, tmp_path)
    assert sum(known(pool, network, [rng.randrange(2) for _ in range(40)]) for _ in range(20)) > 0


@pytest.mark.fault
def test_a_disk_that_takes_no_more_is_an_error_of_ours(tmp_path: Path) -> None:
    writer = start(
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n" + writer_code(tmp_path, limit=5000)
    )
    said = writer.communicate(timeout=PATIENCE_S)[0]
    assert said.splitlines()[0] == "ready"
    assert said.splitlines()[1].startswith("refused: cannot write")
    assert list(tmp_path.glob("*/*")) == []


def test_writing_where_nothing_may_be_written(network: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    pool = pool_of(network, tmp_path / "file")
    with pytest.raises(OutputError, match="cannot write"):
        persist(pool, network, TEXT)
    assert known(pool, network, [*TEXT, 1]) == 0
