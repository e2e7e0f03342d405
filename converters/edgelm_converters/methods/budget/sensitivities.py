"""The sensitivities of a source's tensors: measured once, kept in edgelm's cache folder, and read from there after.

They belong to the source, the calibration text and the way of quantizing, whatever the budget. What was found is kept
layer by layer, so that a run which was stopped goes on where it was.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgelm import paths
from edgelm.atomic import atomic_write
from edgelm.quant.layers.measure import Sensitivities
from edgelm.quant.layers.sensitivity import Sensitivity
from edgelm.quant.streams.activations import Activations
from edgelm.quant.streams.walk import Walk
from edgelm_converters.clock import Clock
from edgelm_converters.estimate import estimate_sensitivity
from edgelm_converters.methods.calibration.layers import in_batches
from edgelm_converters.methods.method import QuantizationMethod
from edgelm_converters.methods.task import QuantizationTask
from edgelm_converters.weights.source_weights import SourceWeights

TEXT_TOKENS = 16_384
"""Drawn from the calibration text, however many the calibration itself takes, so that those do not matter."""
TEXT_ROWS = 16
"""Rows of those from which it is learned what tensors meet."""
SAMPLED_ROWS, SAMPLED_ROW_TOKENS = 4, 192
"""Rows of those, and tokens of each, on which it is measured how far predictions move, for every tensor."""
METHOD = 2
"""The way of measuring; another number makes what is in the cache unknown."""
TASK = "Measuring sensitivity"

Rows = Sequence[Sequence[int]]
"""Token ids."""


@dataclass(frozen=True)
class CachedSensitivities:
    """What a file of the cache holds."""

    tensors: dict[str, Sensitivity]
    tied: str | None
    """The embedding that is also the head."""
    is_whole: bool
    """Whether all that was to be measured was."""

    def write(self, path: Path) -> None:
        """Make it the content of `path`."""
        tensors = {name: dataclasses.asdict(found) for name, found in self.tensors.items()}
        content = {"tied": self.tied, "tensors": tensors, **({} if self.is_whole else {"unfinished": True})}
        atomic_write(path, json.dumps(content))


def sensitivities(
    task: QuantizationTask, method: QuantizationMethod, movable: Sequence[str]
) -> CachedSensitivities:
    """Measure, or read back, the sensitivity of every tensor of `movable` as `method` will quantize it.

    Raises:
        NotFoundError, FormatError, OptionError: about the calibration text.
        UnsupportedError: the architecture cannot be run layer by layer.
    """
    text = task.read_text(TEXT_TOKENS)
    sampled = [row[:SAMPLED_ROW_TOKENS] for row in text.rows[-SAMPLED_ROWS:]]
    rows = text.rows[:TEXT_ROWS]
    made_from = [task.source_hashes.result(), sorted(movable), sampled, rows, method.needs_hessians, METHOD]
    key = json.dumps(made_from, sort_keys=True)
    cached = paths.caches() / "sensitivity" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    kept = read_sensitivities(cached)
    if kept is not None and kept.is_whole:
        return kept
    known = kept.tensors if kept is not None else {}
    return _measure(task, method, movable, (sampled, rows), cached, known)


def _measure(
    task: QuantizationTask, method: QuantizationMethod, movable: Sequence[str], text: tuple[Rows, Rows],
    cached: Path, known: Mapping[str, Sensitivity],
) -> CachedSensitivities:  # fmt: skip
    """Measure what is not `known`, and keep it in `cached` as it comes; of `text`, the first are the sample."""
    sampled, rows = text
    sequential, plan = method.needs_hessians, task.plan
    carried = len(sampled), max(map(len, sampled))
    price = estimate_sensitivity(plan, task.config, sum(map(len, rows)), carried, sequential=sequential)
    task.on_estimate(dataclasses.replace(price, later_s=_later(task, method)))
    weights = SourceWeights(task.open_source, plan.dtypes)
    weights.network.eval()
    sample = in_batches(sampled)
    held = Activations(price.activations_bytes, task.stage / "sensitivity")
    walk = Walk(weights.network, weights, [*sample, *in_batches(rows)], held)
    walk.load(None)
    walk.check()
    tied = walk.head if walk.head in walk.embeddings else None
    measuring = Sensitivities(walk, movable, sampled=len(sample), sequential=sequential, known=known)
    clock = Clock(TASK, task.on_progress, measuring.parts, "steps")  # widths of the embedding, too

    def note(tensors: Mapping[str, Sensitivity], was_known: bool) -> None:
        if not was_known:
            CachedSensitivities(dict(tensors), tied, is_whole=False).write(cached)
        clock.part_done(resumed=was_known)

    whole = CachedSensitivities(measuring.measure(clock.at, note), tied, is_whole=True)
    whole.write(cached)
    return whole


def _later(task: QuantizationTask, method: QuantizationMethod) -> dict[str, float]:
    """Seconds of what comes after the widths are chosen, priced by the plan as it is before."""
    calibrating = method.estimate(task.plan, task.config, task.text.tokens)
    first = {} if calibrating is None else {"calibrating": calibrating.elapsed_s}
    return {**first, **task.later_steps()}


def read_sensitivities(cached: Path) -> CachedSensitivities | None:
    """Read what was measured before; None if nothing was, or it cannot be read (it can be measured again)."""
    try:
        content = json.loads(cached.read_text(encoding="utf-8"))
        tensors = {
            path: Sensitivity({int(bits): kl for bits, kl in found["kl"].items()}, found["errors"])
            for path, found in content["tensors"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return CachedSensitivities(tensors, content.get("tied"), is_whole=not content.get("unfinished", False))
