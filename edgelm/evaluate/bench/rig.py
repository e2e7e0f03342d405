"""What the cases share: one engine, random tokens, and sides that take turns.

Sides are measured one after the other in every repeat, so that what disturbs the machine disturbs all of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from threading import Event
from typing import Any

from edgelm.evaluate.bench.options import BenchOptions
from edgelm.evaluate.bench.report import Spread
from edgelm.runtime.assemble import Ready
from edgelm.runtime.engine import Engine
from edgelm.runtime.events import Finished
from edgelm.runtime.requests import Request

_SEED = 0

Sides = Mapping[str, Callable[[], float]]
"""What measures one figure, by the name of the side."""


class Rig:
    """One loaded model to be measured, on the thread that loaded it."""

    def __init__(self, ready: Ready, options: BenchOptions) -> None:
        self.ready = ready
        self.options = options
        self.engine = ready.engine
        self.peak_memory_bytes = 0
        self.skipped: list[str] = []
        """What turned out not to be possible while it was measured, and why."""
        self._random = random.Random(_SEED)

    @property
    def network(self) -> Any:
        """The mlx-lm model, for the peer."""
        return self.ready.loaded.network

    @property
    def compares(self) -> bool:
        """Whether mlx-lm is measured too."""
        return self.options.compare is not None

    def tokens(self, count: int) -> list[int]:
        """Return `count` random token ids, other ones each time."""
        return [self._random.randrange(self.ready.loaded.vocab_size) for _ in range(count)]

    def generate(
        self,
        prompt: list[int],
        new_tokens: int,
        *,
        speculation: bool = False,
        stops: bool = False,
        engine: Engine | None = None,
    ) -> Finished:
        """Continue `prompt` greedily by exactly so many tokens, or fewer if it `stops` where the model does."""
        stop_tokens = self.ready.loaded.stop_tokens if stops else frozenset()
        request = Request(prompt, max_tokens=new_tokens, speculation=speculation, stop_tokens=stop_tokens)
        events = (engine or self.engine).generate(request, Event())
        finished = next(event for event in events if isinstance(event, Finished))
        self.peak_memory_bytes = max(self.peak_memory_bytes, finished.usage.peak_memory_bytes)
        return finished

    def by_turns(self, sides: Sides) -> dict[str, Spread]:
        """Return the spread of each side's figure over the repeats."""
        figures_of: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(self.options.repeats):
            for name, measure in sides.items():
                figures_of[name].append(measure())
        return {name: Spread.of(figures) for name, figures in figures_of.items()}
