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
from edgelm.quant.layers.sensitivity import Sensitivities, Sensitivity
from edgelm.quant.streams.activations import Activations
from edgelm.quant.streams.walk import Walk
from edgelm_converters.clock import Clock
from edgelm_converters.estimate import estimate, estimate_sensitivity, later_steps
from edgelm_converters.methods.calibration.layers import in_batches
from edgelm_converters.methods.calibration.run import read_text
from edgelm_converters.pipeline.job import ConversionJob
from edgelm_converters.targets.mlx.plan import OutputPlan
from edgelm_converters.weights.source_weights import SourceWeights

TEXT_TOKENS = 16_384
"""Drawn from the calibration text, however many the calibration itself takes, so that those do not matter."""
TEXT_ROWS = 16
"""Of those: from which it is learned what tensors meet."""
SAMPLED_ROWS, SAMPLED_ROW_TOKENS = 4, 192
"""Of those: on which it is measured how far predictions move; every tensor is carried through them."""
METHOD = 2
"""Of measuring; another number makes what is in the cache unknown."""
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
        said = {"tied": self.tied, "tensors": tensors, **({} if self.is_whole else {"unfinished": True})}
        atomic_write(path, json.dumps(said))


def sensitivities(
    job: ConversionJob, plan: OutputPlan, movable: Sequence[str]
) -> tuple[dict[str, Sensitivity], str | None]:
    """The sensitivity of every tensor of `movable`, and the embedding that is also the head.

    Raises:
        NotFoundError, FormatError, OptionError: about the calibration text.
        UnsupportedError: the architecture cannot be run layer by layer.
    """
    text = read_text(
        dataclasses.replace(job.wanted, quality="best", calibration_tokens=TEXT_TOKENS),
        job.directory,
        job.config,
    )  # a quality that takes so many tokens: only its text is read
    sampled = [row[:SAMPLED_ROW_TOKENS] for row in text.rows[-SAMPLED_ROWS:]]
    rows = text.rows[:TEXT_ROWS]
    sequential = job.wanted.chosen_quality == "best"
    made_from = [job.source_hashes.result(), sorted(movable), sampled, rows, sequential, METHOD]
    key = json.dumps(made_from, sort_keys=True)
    cached = paths.caches() / "sensitivity" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    kept = read_sensitivities(cached)
    if kept is not None and kept.is_whole:
        return kept.tensors, kept.tied
    found = _measure(job, plan, movable, (sampled, rows), cached, kept.tensors if kept is not None else {})
    return found.tensors, found.tied


def _measure(
    job: ConversionJob, plan: OutputPlan, movable: Sequence[str], text: tuple[Rows, Rows], cached: Path,
    known: Mapping[str, Sensitivity],
) -> CachedSensitivities:  # fmt: skip
    """Measure what is not `known`, and keep it in `cached` as it comes; of `text`, the first are the sample."""
    sampled, rows = text
    sequential = job.wanted.chosen_quality == "best"
    carried = len(sampled), max(map(len, sampled))
    estimated = estimate_sensitivity(plan, job.config, sum(map(len, rows)), carried, sequential=sequential)
    job.on_estimate(dataclasses.replace(estimated, later_s=_later(job, plan)))
    weights = SourceWeights(job.fresh, plan.dtypes)
    weights.network.eval()
    sample = in_batches(sampled)
    held = Activations(estimated.activations_bytes, job.stage / "sensitivity")
    walk = Walk(weights.network, weights, [*sample, *in_batches(rows)], held)
    walk.load(None)
    walk.check()
    tied = walk.head if walk.head in walk.embeddings else None
    method = Sensitivities(walk, movable, sampled=len(sample), sequential=sequential, known=known)
    clock = Clock(TASK, job.on_progress, method.parts, "steps")  # widths of the embedding, too

    def note(found: Mapping[str, Sensitivity], was_known: bool) -> None:
        if not was_known:
            CachedSensitivities(dict(found), tied, is_whole=False).write(cached)
        clock.part_done(resumed=was_known)

    whole = CachedSensitivities(method.measure(clock.at, note), tied, is_whole=True)
    whole.write(cached)
    return whole


def _later(job: ConversionJob, plan: OutputPlan) -> dict[str, float]:
    """Seconds of what comes after the widths are chosen, priced by the plan as it is before."""
    wanted, later = job.wanted, {}
    if wanted.is_calibrated:
        sequential = wanted.chosen_quality == "best"
        later["calibrating"] = estimate(plan, job.config, wanted.text_tokens, sequential=sequential).elapsed_s
    return {**later, **later_steps(plan, job.config, wanted.measured_tokens)}


def read_sensitivities(cached: Path) -> CachedSensitivities | None:
    """What was measured before; None if nothing was, or it cannot be read (it can be measured again)."""
    try:
        said = json.loads(cached.read_text(encoding="utf-8"))
        tensors = {
            path: Sensitivity({int(bits): kl for bits, kl in found["kl"].items()}, found["errors"])
            for path, found in said["tensors"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return CachedSensitivities(tensors, said.get("tied"), is_whole=not said.get("unfinished", False))
