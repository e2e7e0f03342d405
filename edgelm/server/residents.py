"""The models that are loaded, and who uses them: loaded when first asked for, let go by least use where another needs room."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from edgelm.adapters.use import AdapterUse
from edgelm.api import Model
from edgelm.errors import EngineError, FitError, FormatError, UnsupportedError
from edgelm.library import models as library
from edgelm.server.names import NamedModels
from edgelm.server.threads import in_own_thread

T = TypeVar("T")

Load = Callable[[Path], Model]


@dataclass(eq=False)
class Resident:
    """A loaded model, as a request has it."""

    name: str
    model: Model
    adapters: tuple[AdapterUse, ...] | None = None
    """Who acts on this request; None is as the model was loaded."""
    users: int = 0
    last_used: float = 0.0
    _text: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, "edgelm-text"), repr=False
    )

    async def in_text_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """Have text rendered or encoded where it holds up nobody; one at a time, since a tokenizer takes no two."""
        return await asyncio.get_running_loop().run_in_executor(self._text, work, *arguments)

    def close(self) -> None:
        """Give the memory back."""
        self._text.shutdown(wait=False, cancel_futures=True)
        self.model.close()


class Residents:
    """Gives loaded models by name.

    Args:
        load: loads the model of a directory.
        named: the models that are served, by name; None is all of the library, as it is when somebody asks.
        pinned: names of those that stay loaded.
    """

    def __init__(
        self, load: Load, named: Mapping[str, Path] | None = None, pinned: frozenset[str] = frozenset()
    ) -> None:
        self._load, self._named, self._pinned = load, named, pinned
        self.named = NamedModels(self.directories)
        """What requests may name."""
        self._loaded: dict[str, Resident] = {}
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._wanted = Counter[str]()
        """Names that somebody waits for: what has just been loaded for them is no other's room."""
        self._lock = asyncio.Lock()

    @property
    def loaded(self) -> list[Resident]:
        """The models in memory."""
        return list(self._loaded.values())

    def directories(self) -> dict[str, Path]:
        """Return the models that can be asked for, by name."""
        if self._named is not None:
            return dict(self._named)
        return {model.name: model.directory for model in library.installed() if model.problem is None}

    @property
    def default(self) -> str | None:
        """The model of a request that names none: the first that is served by name."""
        return next(iter(self._named), None) if self._named else None

    @property
    def names(self) -> tuple[str, ...]:
        """What is served by name; empty where it is the whole library."""
        return tuple(self._named or ())

    @asynccontextmanager
    async def use(self, name: str | None, adapters: Sequence[str] = ()) -> AsyncIterator[Resident]:
        """Give a model, which stays loaded during the block.

        Args:
            name: a model, or "model+adapter"; None is the default.
            adapters: names of further ones that act on the request.

        Raises:
            NotFoundError: it is not served, or there is no such adapter.
            UnsupportedError, FormatError: an adapter that was made for another model, or is broken.
            FitError: it does not fit beside those that are in use.
            EdgeLMError: it cannot be loaded.
        """
        name = name or self.default or ""
        if adapters or name not in self._loaded:  # else nothing has to be looked for
            named = await asyncio.to_thread(self.named.find, name, adapters)
            resident = await self._obtain(named.base)
            asked = replace(resident, name=named.name, adapters=named.adapters)
        else:
            asked = resident = await self._obtain(name)
        try:
            yield asked
        finally:
            resident.users -= 1
            resident.last_used = time.monotonic()

    def preload(self) -> None:
        """Load the first that is served by name, in this thread, where Ctrl-C is heard.

        Raises:
            FitError, EdgeLMError: as `use`.
        """
        if (name := self.default) is not None:
            self._loaded[name] = Resident(name, self._load(self._find(name)))

    async def _obtain(self, name: str) -> Resident:
        """The resident of `name` with one more user, which keeps it from being let go."""
        self._wanted[name] += 1
        try:
            while (resident := self._loaded.get(name)) is None:
                await self._arrival(name)
            resident.users += 1
            return resident
        finally:
            self._wanted[name] -= 1

    async def _arrival(self, name: str) -> None:
        """Wait until `name` is loaded. The load goes on when who asked for it has gone: others may wait for it too."""
        if name not in self._loading:
            directory = await asyncio.to_thread(self._find, name)
            if name in self._loaded:  # another's load began and ended while this one looked for the folder
                return
            if name not in self._loading:
                task = self._loading[name] = asyncio.create_task(self._bring(name, directory))
                task.add_done_callback(lambda done: self._has_come(name, done))
        await asyncio.shield(self._loading[name])

    def _has_come(self, name: str, task: asyncio.Task[None]) -> None:
        del self._loading[name]
        if not task.cancelled():
            task.exception()  # told to those who wait; nobody may be left

    async def _bring(self, name: str, directory: Path) -> None:
        async with self._lock:
            self._loaded[name] = Resident(name, await self._load_beside(directory))

    def _find(self, name: str) -> Path:
        return self.named.find(name).directory

    async def _load_beside(self, directory: Path) -> Model:
        while True:
            try:
                return await in_own_thread(lambda: self._load(directory), lambda model: model.close())
            except (FormatError, UnsupportedError) as error:  # no fault of who asks for it
                raise EngineError(
                    f"{directory.name} cannot be loaded: {error.message}", hint=error.hint
                ) from error
            except FitError:
                kept = self._pinned | (+self._wanted).keys()
                idle = [each for each in self.loaded if not each.users and each.name not in kept]
                if not idle:
                    raise
                await self._let_go(min(idle, key=lambda each: each.last_used))

    async def _let_go(self, resident: Resident) -> None:
        del self._loaded[resident.name]
        await asyncio.to_thread(resident.close)

    async def release(self, name: str) -> None:
        """Let go of a model that somebody wants to leave the memory, unless it is in use or stays by `pinned`."""
        resident = self._loaded.get(name)
        if resident is not None and not resident.users and name not in self._pinned:
            await self._let_go(resident)

    async def close(self) -> None:
        """Let go of all models, and wait for none that is still being loaded."""
        for task in list(self._loading.values()):
            task.cancel()
        for resident in self.loaded:
            await self._let_go(resident)
