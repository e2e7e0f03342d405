"""What a training run will take, before anything is loaded: memory at its peak and time, and what would fit.

    planner = TunePlanner(described.config, described.headers, described.directory, device)
    plan = planner.plan(TuneSettings())
    plan.verdict, plan.peak_bytes
    planner.propose(TuneSettings())    # settings that fit

The step that will run is traced on a network without weights and its evaluation followed buffer by buffer
(`edgelm.tune.plan.trace`): no table of architectures, no fitted constants. A first real step corrects it (`corrected`), which
it has to on Metal, where kernels fuse more.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm import device as devices
from edgelm.errors import FitError, OptionError
from edgelm.pricing.machine_rates import Rates
from edgelm.pricing.verdict import Verdict, verdict_of
from edgelm.pricing.weight_bytes import Headers
from edgelm.tune.batches.batcher import BatchPlanner
from edgelm.tune.batches.buckets import round_up
from edgelm.tune.batches.packing import MAX_PACK_TOKENS
from edgelm.tune.data.dataset import Dataset
from edgelm.tune.data.rows import Pair
from edgelm.tune.objectives.objective import Objective
from edgelm.tune.objectives.settings import make_objective
from edgelm.tune.plan.trace.peak import find_peak
from edgelm.tune.plan.trace.step import BatchShape, trace_step
from edgelm.tune.plan.trace.unread import build_unread
from edgelm.tune.plan.trace.work import Work
from edgelm.tune.rollouts.lanes import lane_length, lanes_in
from edgelm.tune.settings import TuneSettings
from edgelm.tune.step.packed_cache import can_pack
from edgelm.tune.step.shared_prompt import can_share
from edgelm.units import format_bytes
from edgelm.zoo.configs.normalise import context_length

SMALLEST_BATCH_TOKENS = 256
_SMALLEST_RANK = 4


@dataclass(frozen=True)
class TunePlan:
    """The account of one way to train."""

    settings: TuneSettings
    shape: BatchShape
    """The batch that takes most."""
    weights_bytes: int
    trainable_count: int
    trainable_bytes: int
    optimizer_bytes: int
    peak_bytes: int
    budget_bytes: int
    verdict: Verdict
    work: Work
    """The work of one step on that batch."""

    @property
    def activations_bytes(self) -> int:
        """What a step needs beside what is there between steps: activations, gradients, logits, masks."""
        return self.peak_bytes - self.weights_bytes - self.trainable_bytes - self.optimizer_bytes

    @property
    def positions(self) -> int:
        """Positions of the batch."""
        return self.shape.lanes * self.shape.length

    def corrected(self, peak_bytes: int) -> TunePlan:
        """Return the plan once such a step has run: `mx.get_peak_memory()` counts, whatever was predicted."""
        verdict = verdict_of(peak_bytes, self.budget_bytes)
        return dataclasses.replace(self, peak_bytes=peak_bytes, verdict=verdict)

    def seconds(self, positions: int, rates: Rates) -> float:
        """Predict the seconds of so many positions, at the machine's rates: a first guess, which the first steps correct.

        Raises:
            OptionError: there are none.
        """
        if positions < 1:
            raise OptionError(f"positions is {positions}, expected 1 or more")
        return self.work.seconds(rates) * positions / self.positions


class TunePlanner:
    """Plans runs of one model on one machine.

    Args:
        config: its normalised config.json.
        headers: of its weights, by name.
        directory: where config.json is.
        device: this machine, or a simulated one.
        data: what will be trained on, if it is known: it decides the shapes of batches.
        beside_bytes: of the weights of other models that are in memory meanwhile.
    """

    def __init__(
        self,
        config: dict[str, Any],
        headers: Headers,
        directory: Path,
        device: devices.Device,
        data: Dataset | None = None,
        *,
        beside_bytes: int = 0,
    ) -> None:
        self._beside_bytes = beside_bytes
        self._config = config
        self._headers = headers
        self._directory = directory
        self._device = device
        self._data = data

    def shapes(self, settings: TuneSettings) -> list[BatchShape]:
        """Return the batches that could take most: with the most positions, and with the longest lanes."""
        loop, objective = settings.loop, make_objective(settings.objective)
        packs = loop.packing and can_pack(self._config)
        if objective.data_kind == "rollout":
            return [self._rollout_shape(settings, packs)]
        if self._data is None:
            longest = min(MAX_PACK_TOKENS, context_length(self._config) or MAX_PACK_TOKENS)
            length = min(loop.batch_tokens, longest)
            lanes = max(1, loop.batch_tokens // length)
            if objective.data_kind != "sft" and not packs:
                lanes = round_up(lanes, 2)
            return [
                BatchShape(
                    lanes,
                    length,
                    packs,
                    0.0 if objective.scores_answers else 1.0,
                    places=2 * lanes if objective.data_kind != "sft" and packs else 0,
                )
            ]
        batcher = BatchPlanner(
            self._data, loop.batch_tokens, loop.seed, packing=packs, sharing=can_share(self._config)
        )
        plans = batcher.epoch(0)
        chosen = {
            max(plans, key=lambda plan: math.prod(batcher.shape_of(plan))),
            max(plans, key=lambda plan: math.prod(batcher.shape_of(plan)) * plan.length),
        }
        share = _trained(self._data, objective) / max(1, batcher.used_positions)
        return [
            BatchShape(
                *batcher.shape_of(plan),
                plan.is_packed,
                share,
                batcher.sequence_count(plan),
                batcher.copied_count(plan),
            )
            for plan in chosen
        ]

    def _rollout_shape(self, settings: TuneSettings, packs: bool) -> BatchShape:
        """The batches of answers that are still to be drawn, were all as long as they may be."""
        asked = self._data.longest if self._data is not None else 0
        length = lane_length(asked + settings.objective.rollout_tokens)
        rollouts = settings.rollouts
        places = rollouts.group_size * rollouts.prompts_per_step
        return BatchShape(lanes_in(length, settings.loop.batch_tokens), length, packs, places=places)

    def plan(self, settings: TuneSettings) -> TunePlan:
        """Price the most expensive batch of a run.

        Raises:
            FormatError, UnsupportedError: the architecture cannot be built or traced.
            OptionError: targets or layers that the network does not have.
        """
        plans = [self._price(settings, shape) for shape in self.shapes(settings)]
        return max(plans, key=lambda plan: plan.peak_bytes)

    def propose(self, settings: TuneSettings) -> TunePlan | None:
        """Find the plan nearest to `settings` that fits: recomputing layers first, smaller batches next, then a lower
        rank; None if none does.
        """
        for candidate in self._candidates(settings):
            plan = self.plan(candidate)
            if plan.verdict != "does not fit":
                return plan
        return None

    def require_fit(self, settings: TuneSettings) -> TunePlan:
        """Return `plan`, or refuse it if it does not fit.

        Raises:
            FitError: with the numbers, and settings that would fit.
        """
        plan = self.plan(settings)
        if plan.verdict == "does not fit":
            raise FitError(
                f"training needs {format_bytes(plan.peak_bytes)} at its peak (weights"
                f" {format_bytes(plan.weights_bytes)}, a step {format_bytes(plan.activations_bytes)}), but"
                f" {format_bytes(plan.budget_bytes)} is safe to use here ({self._device.chip})",
                hint=_way_out(self.propose(settings)),
            )
        return plan

    def _price(self, settings: TuneSettings, shape: BatchShape) -> TunePlan:
        network = build_unread(self._config, self._headers, self._directory, self._device)
        step = trace_step(network, self._config, settings, shape)
        # While batches are added up, the sum so far is kept beside the next gradient.
        summed = step.trainable_bytes if settings.loop.accumulate > 1 else 0
        peak = find_peak(step.graph).peak_bytes + summed + self._beside_bytes
        budget = devices.memory_budget_bytes(self._device)
        return TunePlan(
            settings=settings,
            shape=shape,
            weights_bytes=step.weights_bytes + self._beside_bytes,
            trainable_count=step.trainable_count,
            trainable_bytes=step.trainable_bytes,
            optimizer_bytes=step.optimizer_bytes,
            peak_bytes=peak,
            budget_bytes=budget,
            verdict=verdict_of(peak, budget),
            work=step.work,
        )

    def _candidates(self, settings: TuneSettings) -> Iterator[TuneSettings]:
        recomputed = _changed(settings, grad_checkpoint=True)
        yield from [settings] if settings.loop.grad_checkpoint else [settings, recomputed]
        smallest = recomputed
        for tokens in self._smaller_batches(settings):
            smallest = _changed(recomputed, batch_tokens=tokens)
            yield smallest
        rank = settings.method.rank // 2
        while settings.method.method != "full" and rank >= _SMALLEST_RANK:
            yield _changed(smallest, rank=rank)
            rank //= 2

    def _smaller_batches(self, settings: TuneSettings) -> Sequence[int]:
        """Halves, down to what the longest row needs."""
        least = max(SMALLEST_BATCH_TOKENS, self._data.longest if self._data else 0)
        halves = [settings.loop.batch_tokens >> by for by in range(1, 16)]
        return [tokens for tokens in halves if tokens >= least]


def _trained(data: Dataset, objective: Objective) -> int:
    """Targets whose logits are made, of an epoch."""
    if not objective.imitates_prompts:
        return data.target_count
    return sum(row.chosen.size + row.rejected.target_count for row in data if isinstance(row, Pair))


def _changed(settings: TuneSettings, **changes: Any) -> TuneSettings:
    return TuneSettings.build(**{**settings.flat(), **changes})


def _way_out(plan: TunePlan | None) -> str:
    if plan is None:
        return "no batch is small enough: convert the model to fewer bits, or train a smaller one"
    loop = plan.settings.loop
    flags = [f"--batch-tokens {loop.batch_tokens}", *(["--grad-checkpoint"] if loop.grad_checkpoint else [])]
    if plan.settings.method.method != "full":
        flags.append(f"--rank {plan.settings.method.rank}")
    return f"{' '.join(flags)} needs {format_bytes(plan.peak_bytes)}"
