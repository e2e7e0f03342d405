"""Models in memory: loaded once, let go by least use, kept while somebody uses them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgelm.errors import FitError, NotFoundError
from edgelm.server.residents import Residents


class Memory:
    """Stands for a machine with room for `room` models."""

    def __init__(self, room: int) -> None:
        self.room, self.loads = room, list[str]()
        self.inside = set[str]()

    def load(self, directory: Path) -> Any:
        if len(self.inside) >= self.room:
            raise FitError(f"{directory.name} needs 1 GB, and 0 GB are free")
        self.loads.append(directory.name)
        self.inside.add(directory.name)
        return _Loaded(directory.name, self)


class _Loaded:
    def __init__(self, name: str, memory: Memory) -> None:
        self.name, self._memory = name, memory

    def close(self) -> None:
        self._memory.inside.remove(self.name)


def residents(memory: Memory, *pinned: str) -> Residents:
    return Residents(memory.load, {name: Path(name) for name in "abc"}, frozenset(pinned))


def test_askers_of_one_model_share_it() -> None:
    async def run() -> None:
        memory = Memory(2)
        models = residents(memory)

        async def ask() -> None:
            async with models.use("a"):
                await asyncio.sleep(0)

        await asyncio.gather(*(ask() for _ in range(5)))
        assert memory.loads == ["a"]
        await models.close()
        assert not memory.inside

    asyncio.run(run())


def test_a_folder_that_is_found_late_is_not_loaded_again() -> None:
    """One asker's look at the disk ends when another's load has already ended."""

    async def run() -> None:
        memory = Memory(2)
        models = residents(memory)
        found, looks = models.named.find, list[str]()
        late = threading.Event()

        def find(name: str, adapters: Sequence[str] = ()) -> Any:
            looks.append(name)
            if len(looks) == 4:  # each asker looks twice; the second one's last look waits
                assert late.wait(60)
            return found(name, adapters)

        async def ask() -> None:
            async with models.use("a"):
                late.set()

        models.named.find = find  # type: ignore[method-assign]
        await asyncio.gather(ask(), ask())
        assert memory.loads == ["a"]
        await models.close()
        assert not memory.inside

    asyncio.run(run())


def test_the_one_that_was_used_longest_ago_goes_and_never_a_pinned_one() -> None:
    async def run() -> None:
        memory = Memory(2)
        models = residents(memory, "a")
        for name in "abc":
            async with models.use(name):
                pass
        assert memory.inside == {"a", "c"}

    asyncio.run(run())


def test_one_in_use_stays_and_the_other_is_refused_with_its_numbers() -> None:
    async def run() -> None:
        memory = Memory(1)
        models = residents(memory)
        async with models.use("a"):
            with pytest.raises(FitError, match="1 GB"):
                async with models.use("b"):
                    pass
            assert memory.inside == {"a"}
        async with models.use("b"):
            assert memory.inside == {"b"}

    asyncio.run(run())


def test_no_name_is_the_first_that_was_named() -> None:
    async def run() -> None:
        models = residents(Memory(3))
        async with models.use(None) as resident:
            assert resident.name == "a"
        with pytest.raises(NotFoundError, match="a, b, c"):
            async with models.use("../a"):
                pass

    asyncio.run(run())
