"""Speed of a loaded model: prefill and decode at several depths, with the spread of repeats.

A depth is how many tokens are in the KV cache before the measured ones. Runs the same engine as a chat does,
on seeded random tokens and greedily, on the thread that loaded the model. Knows nothing about tokenizers.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from threading import Event
from typing import Any

from edgelm.device import Device
from edgelm.errors import EngineError, OptionError
from edgelm.options import Options, option
from edgelm.progress import OnProgress, Progress, ignore_progress
from edgelm.runtime.engine import Engine
from edgelm.runtime.events import Finished, Usage
from edgelm.runtime.requests import Request
from edgelm.version import __version__

DEFAULT_DEPTHS = (0, 512, 2048)
_SEED = 0


@dataclass(frozen=True)
class BenchOptions(Options):
    """What is measured.

    Raises:
        OptionError: a setting outside what it may be.
    """

    depths: tuple[int, ...] | None = None
    """Tokens in the cache; None takes 0, 512 and 2048 as far as the model's context goes."""
    prompt_tokens: int = option(512, "prompt tokens computed for the prefill figure", ge=1)
    new_tokens: int = option(64, "tokens decoded for the decode figure", ge=2)
    repeats: int = option(3, "measurements of each figure", ge=1, le=100)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depths is not None and (not self.depths or min(self.depths) < 0):
            raise OptionError(f"depth is {self.depths!r}, expected counts of tokens, 0 or more")

    def depths_within(self, context_length: int | None) -> tuple[int, ...]:
        """The depths to measure on a model of this context.

        Raises:
            OptionError: a depth that was asked for does not leave room for the measured tokens.
        """
        needed = max(self.prompt_tokens, self.new_tokens) + 1
        longest = None if context_length is None else context_length - needed
        wanted = DEFAULT_DEPTHS if self.depths is None else self.depths
        fitting = tuple(depth for depth in wanted if longest is None or depth <= longest)
        if not fitting or (self.depths is not None and fitting != wanted):
            raise OptionError(
                f"depth {max(wanted) if self.depths else 0} and {needed} measured tokens exceed the model's"
                f" context of {context_length} tokens",
                hint="give smaller --depth, --prompt-tokens or --new-tokens",
            )
        return fitting


@dataclass(frozen=True, slots=True)
class Spread:
    """Tokens per second over the repeats."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, speeds: Sequence[float]) -> Spread:
        return cls(statistics.median(speeds), min(speeds), max(speeds))


@dataclass(frozen=True, slots=True)
class DepthSpeed:
    """Speeds with `depth` tokens in the cache."""

    depth: int
    prefill_tokens_per_s: Spread
    decode_tokens_per_s: Spread


@dataclass(frozen=True)
class BenchReport:
    """What was measured, on what."""

    model: str
    model_bytes: int
    dtype: str
    backend: str
    chip: str
    prompt_tokens: int
    new_tokens: int
    repeats: int
    speeds: tuple[DepthSpeed, ...]
    peak_memory_bytes: int
    versions: dict[str, str]


def run_bench(
    model: Any, device: Device, options: BenchOptions, *, on_progress: OnProgress = ignore_progress
) -> BenchReport:
    """Measure `model`, a `LoadedModel`, on the thread that loaded it.

    Raises:
        OptionError: a depth beyond the model's context.
        EngineError: MLX failed.
    """
    depths = options.depths_within(model.context_length)
    bench = _Bench(model, options)
    bench.warm_up()
    speeds = []
    for index, depth in enumerate(depths):
        on_progress(Progress("Measuring", index, len(depths), "steps", f"depth {depth}"))
        speeds.append(bench.measure(depth))
    on_progress(Progress("Measuring", len(depths), len(depths), "steps"))
    return BenchReport(
        model=model.name,
        model_bytes=model.size_bytes,
        dtype=model.dtype,
        backend=device.backend,
        chip=device.chip,
        prompt_tokens=options.prompt_tokens,
        new_tokens=options.new_tokens,
        repeats=options.repeats,
        speeds=tuple(speeds),
        peak_memory_bytes=bench.peak_memory_bytes,
        versions={"edgelm": __version__, "mlx": version("mlx"), "mlx-lm": version("mlx-lm")},
    )


class _Bench:
    """One engine, and the requests that measure it."""

    def __init__(self, model: Any, options: BenchOptions) -> None:
        self._engine = Engine(model.network, vocab_size=model.vocab_size, context_length=model.context_length)
        self._vocab_size = model.vocab_size
        self._options = options
        self._random = random.Random(_SEED)
        self.peak_memory_bytes = 0

    def warm_up(self) -> None:
        """Let kernels be compiled and weights be paged in before the clock runs."""
        self._generate(self._tokens(min(8, self._options.prompt_tokens)), 2)

    def measure(self, depth: int) -> DepthSpeed:
        filled = self._tokens(depth)
        decode = [self._decode_speed(filled) for _ in range(self._options.repeats)]
        prefill = [self._prefill_speed(filled) for _ in range(self._options.repeats)]
        return DepthSpeed(depth, Spread.of(prefill), Spread.of(decode))

    def _prefill_speed(self, filled: list[int]) -> float:
        return self._measured(filled, self._options.prompt_tokens, 1).prefill_tokens_per_s

    def _decode_speed(self, filled: list[int]) -> float:
        return self._measured(filled, 1, self._options.new_tokens).decode_tokens_per_s

    def _measured(self, filled: list[int], prompt_tokens: int, new_tokens: int) -> Usage:
        """Cost of `prompt_tokens` and `new_tokens` after `filled`, which is put in the cache unmeasured."""
        if filled:
            self._generate(filled, 1)  # the engine cuts the cache of the last repeat back where it can
        else:
            self._engine.reset()
        usage = self._generate(filled + self._tokens(prompt_tokens), new_tokens)
        if usage.cached_tokens != len(filled):
            raise EngineError(
                f"the KV cache held {usage.cached_tokens} tokens before the measured ones, expected {len(filled)}"
            )
        return usage

    def _tokens(self, count: int) -> list[int]:
        return [self._random.randrange(self._vocab_size) for _ in range(count)]

    def _generate(self, prompt: list[int], new_tokens: int) -> Usage:
        events: Iterator[Any] = self._engine.generate(Request(prompt, max_tokens=new_tokens), Event())
        usage = next(event.usage for event in events if isinstance(event, Finished))
        self.peak_memory_bytes = max(self.peak_memory_bytes, usage.peak_memory_bytes)
        return usage
