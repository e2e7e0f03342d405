"""Size against loss: one source quantized in several ways, each measured on the same held-out text.

The source is written unquantized once, so that a download or a GGUF is read once, and run once: every candidate is
compared with the hidden states that were kept. Models are streamed layer by layer, so none need fit in memory.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgelm import paths
from edgelm.atomic import disk_errors, scratch_directory
from edgelm.errors import OptionError
from edgelm.evaluate.compare import Comparison, RowComparison, kl_difference, score_against, summarise
from edgelm.evaluate.reference import Reference
from edgelm.evaluate.rows import Measuring, held_out_rows
from edgelm.evaluate.scores import Estimate
from edgelm.machine.long_job import long_job
from edgelm.model.load import load_tokenizer
from edgelm.progress import OnProgress, Progress, ignore_progress
from edgelm.zoo.configs.normalise import normalise_config, read_config
from edgelm_converters.conversion import Conversion
from edgelm_converters.convert import convert
from edgelm_converters.methods.registry import BUDGET_DEFAULT, METHODS, ROUNDING
from edgelm_converters.result.loss import run_directory

TASK = "Comparing"
_DISTILLED = "distilled"
"""The method that trains scales and norms after the most careful one."""
COMPARED = (*METHODS, _DISTILLED)


@dataclass(frozen=True)
class Candidate:
    """One way of quantizing, measured."""

    method: str
    width: str
    """"4" for 4 bits in every layer, "4.25 bpw" for widths chosen within that budget."""
    size_bytes: int
    bits_per_weight: float
    elapsed_s: float
    """Seconds of the conversion."""
    loss: Comparison
    beside_first: Estimate | None
    """Mean KL minus that of the first method asked for, at this width and on the same tokens; None where it has none."""
    on_frontier: bool = True
    """No other candidate is both smaller and closer to the source."""


@dataclass(frozen=True)
class Frontier:
    """All candidates of one source, the smallest first."""

    source: str
    source_bytes: int
    source_bits_per_weight: float
    source_perplexity: Estimate
    first_method: str
    """What the others are set beside."""
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class Comparing:
    """What to compare.

    Raises:
        OptionError: a method or width that there is not, or nothing to compare.
    """

    methods: tuple[str, ...]
    bits: tuple[int, ...]
    budgets: tuple[float, ...] = ()
    """Bits per weight, scales included, within which widths are chosen by tensor."""
    group_size: int = 64
    calibration: str | None = None
    calibration_tokens: int = 16_384
    distill_steps: int = 200
    """Steps of the method "distilled", which starts from best."""
    dtype: str = "auto"
    measuring: Measuring = field(default_factory=Measuring)

    def __post_init__(self) -> None:
        for method in self.methods:
            if method not in COMPARED:
                raise OptionError(f"method is {method!r}, expected one of {', '.join(COMPARED)}")
        if not self.conversions():
            raise OptionError("there is nothing to compare", hint="--bits 3,4 --methods rtn,best")

    def conversions(self) -> list[tuple[str, str, Conversion]]:
        """(method, width, settings) of every candidate, each checked."""
        uniform = [
            (method, str(bits), self._conversion(method, bits=bits, group_size=self.group_size))
            for bits in self.bits
            for method in self.methods
        ]
        budgeted = [
            (method, f"{budget:g} bpw", self._conversion(method, bpw=budget))
            for budget in self.budgets
            for method in self.methods
            if method
            != ROUNDING.name  # measuring where bits help most already costs more than rounding saves
        ]
        return uniform + budgeted

    def _conversion(self, method: str, **width: Any) -> Conversion:
        if method == _DISTILLED:
            width = {**width, "distill": self.distill_steps}
        quality = BUDGET_DEFAULT if method == _DISTILLED else METHODS[method]
        calibration = self.calibration if quality.needs_text else None
        tokens = self.calibration_tokens if quality.needs_text else None
        return Conversion(
            quality=quality.name, calibration=calibration, calibration_tokens=tokens, dtype=self.dtype,
            verify=False, loss_tokens=0, **width,
        )  # fmt: skip


@long_job("the comparison", "methods of a lower quality")
def compare_methods(
    source: str | Path, comparing: Comparing, *, keep: Path | None = None, on_progress: OnProgress = ignore_progress
) -> Frontier:  # fmt: skip
    """Quantize `source` in every way of `comparing`, and measure each.

    Args:
        source: what `convert` takes.
        keep: a directory for the models; None deletes each once it is measured.

    Raises:
        What `convert` raises about the source, a setting or the disk.
        OptionError: more held-out text was asked for than there is.
    """
    conversions = comparing.conversions()
    with _workplace(keep) as root:
        plain = convert(
            source, root / "source", mode="none", dtype=comparing.dtype, verify=False, on_progress=on_progress
        )
        rows = held_out_rows(
            load_tokenizer(plain.directory, normalise_config(read_config(plain.directory))),
            comparing.measuring,
        )
        with run_directory(plain.directory, rows) as reference:
            run = _Run(plain.directory, root, reference, comparing.methods[0])
            for index, (method, width, wanted) in enumerate(conversions):
                run.measure(
                    method, width, wanted, _retold(on_progress, index, len(conversions), f"{method} {width}")
                )
                if keep is None:
                    shutil.rmtree(root / _name(method, width))
        on_progress(Progress(TASK, len(conversions), len(conversions), "steps"))
    return Frontier(
        source=str(source),
        source_bytes=plain.manifest.size_bytes or 0,
        source_bits_per_weight=plain.manifest.bits_per_weight or 0.0,
        source_perplexity=run.found[0].loss.reference_perplexity,
        first_method=comparing.methods[0],
        candidates=mark_frontier(run.found),
    )


@dataclass
class _Run:
    """One source under comparison."""

    source: Path
    root: Path
    reference: Reference
    first_method: str
    found: list[Candidate] = field(default_factory=list)
    firsts: dict[str, list[RowComparison]] = field(default_factory=dict)
    """Width → the scores of the first method at it."""

    def measure(self, method: str, width: str, wanted: Conversion, on_progress: OnProgress) -> None:
        started = time.monotonic()
        converted = convert(
            self.source, self.root / _name(method, width), on_progress=on_progress, **vars(wanted)
        )
        elapsed_s = time.monotonic() - started
        with run_directory(converted.directory, self.reference.rows) as result:
            scores = score_against(self.reference, result)
        first = self.firsts.get(width)
        if method == self.first_method:
            self.firsts[width] = scores
        self.found.append(
            Candidate(
                method=method,
                width=width,
                size_bytes=converted.manifest.size_bytes or 0,
                bits_per_weight=converted.manifest.bits_per_weight or 0.0,
                elapsed_s=elapsed_s,
                loss=summarise(scores),
                beside_first=None if first is None else kl_difference(scores, first),
            )
        )


def _retold(on_progress: OnProgress, done: int, total: int, name: str) -> OnProgress:
    """A candidate's own progress as the detail of the whole."""

    def tell(report: Progress) -> None:
        amount = f" {report.done}/{report.total}" if report.total and report.unit != "bytes" else ""
        on_progress(Progress(TASK, done, total, "steps", f"{name}: {report.task.lower()}{amount}"))

    on_progress(Progress(TASK, done, total, "steps", name))
    return tell


def mark_frontier(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Sort the smallest first, and at one size the closest; mark those that nothing beats in both."""
    ordered = sorted(candidates, key=lambda candidate: (candidate.size_bytes, candidate.loss.mean_kl.value))
    marked: list[Candidate] = []
    closest = float("inf")
    for candidate in ordered:
        kl = candidate.loss.mean_kl.value
        marked.append(replace(candidate, on_frontier=kl < closest))
        closest = min(closest, kl)
    return tuple(marked)


def _name(method: str, width: str) -> str:
    return f"{method}-{width.replace(' ', '')}"


@contextmanager
def _workplace(keep: Path | None) -> Iterator[Path]:
    """`keep`, or a directory with the caches that goes away: models are too large for /tmp."""
    if keep is None:
        with scratch_directory(paths.caches() / "compare") as path:
            yield path
        return
    with disk_errors(keep):
        keep.mkdir(parents=True, exist_ok=True)
    yield keep
