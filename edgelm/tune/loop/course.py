"""What a run learns from, rows of files or answers that the network draws itself: the batches of its steps, and what is
measured of what is held out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgelm.model.load import LoadedModel
from edgelm.rewards.combined import Rewards
from edgelm.runs.control import RunControl
from edgelm.runs.folder import RunFolder
from edgelm.tune.batches.batcher import BatchPlanner
from edgelm.tune.loop.measuring import Batches, HeldOut, measure
from edgelm.tune.loop.workers import Workers
from edgelm.tune.rollouts.asked_data import AskedData
from edgelm.tune.rollouts.batches import RolloutBatches
from edgelm.tune.rollouts.collector import RoundCollector
from edgelm.tune.rollouts.engine import rollout_engine
from edgelm.tune.rollouts.held_out import HeldOutRewards
from edgelm.tune.rollouts.reference import FirstWeights
from edgelm.tune.rollouts.sampling import GroupSampler
from edgelm.tune.rollouts.store import RolloutStore
from edgelm.tune.settings import TuneSettings
from edgelm.tune.step.stepper import Stepper
from edgelm.tune.step.target_logits import MakeCaches


@dataclass(frozen=True)
class Course:
    """The batches of a run."""

    batches: Batches
    validate: Callable[[], HeldOut] | None
    """Measures what is held out."""


def course_of_rows(
    training: BatchPlanner, validation: BatchPlanner | None, stepper: Stepper, workers: Workers
) -> Course:
    """Return the course of a run on rows of files."""
    held_out = validation
    return Course(training, None if held_out is None else lambda: measure(stepper, held_out, workers))


def course_of_rollouts(
    data: AskedData,
    validation: AskedData | None,
    *,
    loaded: LoadedModel,
    stepper: Stepper,
    settings: TuneSettings,
    rewards: Rewards,
    folder: RunFolder,
    control: RunControl,
    packs: bool,
    make_caches: MakeCaches,
) -> Course:
    """Return the course of a run on the network's own answers; `stepper` has made no step yet."""
    rollouts, loop, longest = settings.rollouts, settings.loop, settings.objective.rollout_tokens
    stop = _StopOrder(control)
    sampler = GroupSampler(
        loaded.network, rollout_engine(loaded), loaded.tokenizer, loaded.stop_tokens, rollouts, longest
    )
    store = RolloutStore(folder.path / "rollouts")
    collector = RoundCollector(data.questions, sampler, rewards, store, rollouts, loop.seed)
    first = FirstWeights(loaded.network, stepper, chunk=loop.loss_chunk, make_caches=make_caches)
    batches = RolloutBatches(
        data,
        collector,
        rollouts,
        longest=longest,
        batch_tokens=loop.batch_tokens,
        seed=loop.seed,
        packs=packs,
        cancel=stop,
        sync=stepper.sync,
        reference=first if settings.objective.beta else None,
    )
    if validation is None:
        return Course(batches, None)
    asked = HeldOutRewards(validation, sampler, rewards, stop)

    def held_out() -> HeldOut:
        stepper.sync()
        tokens, told = asked()
        return HeldOut(-told["reward"], tokens, dict(told))

    return Course(batches, held_out)


@dataclass(frozen=True)
class _StopOrder:
    """Asks the run's control whether to stop, as often as a request is asked whether it is still wanted."""

    control: RunControl

    def is_set(self) -> bool:
        self.control.look()
        return self.control.should_stop
