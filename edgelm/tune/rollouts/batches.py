"""The batches of a run that draws its own answers: a plan of an epoch names questions, and a step's answers become batches
once they are drawn and judged.

Shapes: B lanes, T positions, S places for sequences.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgelm.runtime.requests import Cancel
from edgelm.tune.batches.batcher import BatchPlan, TrainingBatch
from edgelm.tune.objectives.objective import ADVANTAGES, OLD, REFERENCE
from edgelm.tune.rollouts.asked_data import AskedData
from edgelm.tune.rollouts.collector import RolloutRound, RoundCollector
from edgelm.tune.rollouts.lanes import fill_lanes, lane_length, lanes_in
from edgelm.tune.settings import RolloutSettings

ScoreBatch = Callable[[TrainingBatch], npt.NDArray[np.float32]]
"""The log-probabilities `[targets]` of a batch under the reference model, in the order in which they lie."""


@dataclass(frozen=True)
class RoundPlan(BatchPlan):
    """The questions of one step."""

    round_number: int = 0


@dataclass(frozen=True, eq=False)
class _Sequence:
    """An answer behind its prompt."""

    row: int
    prompt: tuple[int, ...]
    answer: npt.NDArray[np.int32]
    log_probs: npt.NDArray[np.float32]
    advantage: float
    is_trained: bool

    @property
    def size(self) -> int:
        return len(self.prompt) + self.answer.size - 1


class RolloutBatches:
    """Plans epochs of questions, and makes the batches of a step from answers.

    Args:
        data: what is asked.
        collector: draws and judges.
        longest: most tokens of an answer.
        batch_tokens: positions of one batch at most, unless one answer alone has more.
        packs: several answers may share a lane.
        cancel: asked whether to stop, while answers are drawn.
        sync: puts the weights of the last step into the network, before answers are drawn.
        reference: where the loss compares with a reference model.
    """

    def __init__(
        self,
        data: AskedData,
        collector: RoundCollector,
        settings: RolloutSettings,
        *,
        longest: int,
        batch_tokens: int,
        seed: int,
        packs: bool,
        cancel: Cancel,
        sync: Callable[[], None],
        reference: ScoreBatch | None = None,
    ) -> None:
        self._data, self._collector, self._settings = data, collector, settings
        self._longest, self._batch_tokens, self._seed = longest, batch_tokens, seed
        self._packs, self._cancel, self._sync, self._reference = packs, cancel, sync, reference
        self._rounds_per_epoch = -(-len(data) // settings.prompts_per_step)
        self._batches: dict[BatchPlan, TrainingBatch] = {}
        self._step_metrics: dict[str, float] = {}

    @property
    def batches_per_epoch(self) -> int:
        """Steps of every epoch."""
        return self._rounds_per_epoch * self._settings.updates_per_round

    def epoch(self, number: int) -> tuple[BatchPlan, ...]:
        """Plan the steps of epoch `number` (from 0): every question once, or as often as answers are used."""
        order = list(range(len(self._data)))
        random.Random(f"{self._seed}/{number}").shuffle(order)
        size = self._settings.prompts_per_step
        rounds = [order[begin : begin + size] for begin in range(0, len(order), size)]
        return tuple(
            RoundPlan(tuple((row,) for row in rows), 0, round_number=number * self._rounds_per_epoch + index)
            for index, rows in enumerate(rounds)
            for _ in range(self._settings.updates_per_round)
        )

    def ready(self, plans: Sequence[BatchPlan]) -> Sequence[BatchPlan]:
        """Draw and judge the answers of a step, and return the plans of their batches.

        Raises:
            PromptError, FitError, EngineError, RewardError, OutputError, Interrupted: see `RoundCollector.collect`.
        """
        (plan,) = plans
        assert isinstance(plan, RoundPlan)
        self._sync()
        collected = self._collector.collect(plan.round_number, plan.rows, self._cancel)
        self._step_metrics = collected.metrics()
        self._batches = dict(self._batches_of(self._sequences(collected)))
        return tuple(self._batches)

    def load(self, plan: BatchPlan) -> TrainingBatch:
        """Return a batch of the step that was made ready last."""
        return self._batches[plan]

    def step_metrics(self) -> dict[str, float]:
        """Return what is to be watched of the answers of that step."""
        return self._step_metrics

    def _sequences(self, collected: RolloutRound) -> list[_Sequence]:
        sequences = [
            _Sequence(
                group.question,
                self._data.questions[group.question].ids,
                rollout.tokens,
                rollout.log_probs,
                float(advantage),
                not (rollout.is_cut_off and self._settings.mask_overlong),
            )
            for at in collected.trained
            for group, values in [(collected.groups[at], collected.advantages[at])]
            for rollout, advantage in zip(group.rollouts, values, strict=True)
        ]
        if any(each.is_trained for each in sequences):
            return sequences
        # All were cut off: a step that teaches nothing still has to be one.
        return [dataclasses.replace(each, is_trained=True, advantage=0.0) for each in sequences]

    def _batches_of(self, sequences: Sequence[_Sequence]) -> list[tuple[BatchPlan, TrainingBatch]]:
        longest = max(each.size for each in sequences)
        if self._packs:  # one shape for the whole run
            longest = max(self._data.longest + self._longest, longest)
        length = lane_length(longest)
        lanes = fill_lanes([each.size for each in sequences], length, packs=self._packs)
        per_batch = lanes_in(length, self._batch_tokens)
        made = []
        for begin in range(0, len(lanes), per_batch):
            here = lanes[begin : begin + per_batch]
            here += [[]] * (per_batch - len(here))
            made.append(self._batch([[sequences[at] for at in lane] for lane in here], length, begin))
        return made

    def _batch(
        self, lanes: Sequence[Sequence[_Sequence]], length: int, number: int
    ) -> tuple[BatchPlan, TrainingBatch]:
        B, T = len(lanes), length
        inputs, targets, segments, places = (np.zeros((B, T), np.int32) for _ in range(4))
        weights, old, advantages = (np.zeros((B, T), np.float32) for _ in range(3))
        lengths = np.zeros(B, np.int32)
        S = self._settings.group_size * self._settings.prompts_per_step
        present = np.zeros(S, np.float32)
        place = 0
        for lane, held in enumerate(lanes):
            for segment, each in enumerate(held, start=1):
                tokens = [*each.prompt, *each.answer.tolist()]
                here = slice(lengths[lane], lengths[lane] + each.size)
                answered = slice(here.stop - each.answer.size, here.stop)
                inputs[lane, here], targets[lane, here] = tokens[:-1], tokens[1:]
                segments[lane, here], places[lane, here] = segment, place
                weights[lane, answered] = float(each.is_trained)
                old[lane, answered], advantages[lane, answered] = each.log_probs, each.advantage
                lengths[lane], present[place] = here.stop, 1
                place += 1
        rows = tuple(tuple(each.row for each in held) for held in lanes)
        batch = TrainingBatch(
            inputs,
            targets,
            weights,
            segments if self._packs else None,
            lengths,
            tuple(row for lane in rows for row in lane),
            columns={OLD: old, ADVANTAGES: advantages},
            sequences=places,
            sequence_count=S,
            present=present,
        )
        if self._reference is not None:
            reference = np.zeros((B, T), np.float32)
            reference[weights > 0] = self._reference(batch)
            batch.columns[REFERENCE] = reference  # type: ignore[index]
        return RoundPlan(rows, length, self._packs, number), batch
