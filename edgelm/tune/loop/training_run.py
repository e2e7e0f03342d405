"""A run from its checked request to its adapter: network, trainer, log.

It is made by `edgelm.tune.loop.begin`. Everything runs on the calling thread, which owns MLX from here on.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import mlx.core as mx

from edgelm import paths
from edgelm.adapters.base import AdapterBase
from edgelm.adapters.export import export_adapter
from edgelm.adapters.scoring.head import install_score
from edgelm.atomic import atomic_directory
from edgelm.errors import (
    EdgeLMError,
    EngineError,
    OutputError,
)
from edgelm.library.manifest import Manifest
from edgelm.machine.clock import passed_s
from edgelm.machine.gpu.watchdog import watchdog_error
from edgelm.machine.power import kept_awake
from edgelm.model.load import LoadedModel, load
from edgelm.rewards.combined import Rewards
from edgelm.runs.control import RunControl
from edgelm.runs.events import Aborted, RunEnded, Started, TuneEvent
from edgelm.runs.folder import RunFolder, remove_directory
from edgelm.text.template_identity import template_identity
from edgelm.tune.batches.arrays import ReferenceValues
from edgelm.tune.batches.batcher import BatchPlanner
from edgelm.tune.data.dataset import Dataset
from edgelm.tune.data.prepare import Prepared
from edgelm.tune.loop.checkpoint import checkpoints, load_checkpoint
from edgelm.tune.loop.course import Course, course_of_rollouts, course_of_rows
from edgelm.tune.loop.power_policy import Look, PowerPolicy
from edgelm.tune.loop.reference_phase import ReferencePhase
from edgelm.tune.loop.samples import PromptAnswers, choose_prompts
from edgelm.tune.loop.trainer import Trainer
from edgelm.tune.loop.workers import Workers
from edgelm.tune.objectives.objective import Objective
from edgelm.tune.objectives.settings import make_objective
from edgelm.tune.plan.forecast import Forecast, forecast
from edgelm.tune.plan.planner import TunePlan
from edgelm.tune.position import Position
from edgelm.tune.reference.scorer import Scorer
from edgelm.tune.request import TuneRequest
from edgelm.tune.reward_model.named import read_all_rewards
from edgelm.tune.reward_model.shared import sharing_copy
from edgelm.tune.rollouts.asked_data import AskedData
from edgelm.tune.step.methods import make_trainable
from edgelm.tune.step.optimizer import Optimizer
from edgelm.tune.step.packed_cache import can_pack
from edgelm.tune.step.recompute import recomputed
from edgelm.tune.step.shared_prompt import can_share, row_caches
from edgelm.tune.step.stepper import Stepper
from edgelm.tune.step.threads import training_threads
from edgelm.units import format_seconds
from edgelm.zoo.tree import flat_arrays


@dataclass
class TrainingRun:
    """A run that was made or found, its data checked; nothing is loaded until `events`."""

    request: TuneRequest
    folder: RunFolder
    data: Prepared
    base: AdapterBase
    config: dict[str, Any]
    """The config of the model, normalised."""
    control: RunControl
    workers: Workers
    look: Look | None = None
    """Stands for the machine in `--pause-on`."""
    is_new: bool = False
    """Whether there is nothing to keep of it if its first event never comes."""
    _template: str | None = field(default=None, init=False)
    """The identity of the model's chat template."""

    def events(self) -> Generator[TuneEvent, None, None]:
        """Train; every event is kept in the run's log as well.

        Raises:
            FitError, FormatError, UnsupportedError, OptionError: before the first step.
            EngineError, OutputError: see `Trainer.events`; the run can be resumed.
        """
        if not self.workers.is_first:
            yield from self._train()
            return
        self.folder.lock()
        try:
            with kept_awake():
                yield from self._logged()
        finally:
            self.folder.unlock()

    def _logged(self) -> Iterator[TuneEvent]:
        is_new = self.is_new
        try:
            for event in self._train():
                is_new = False
                self.folder.append(event)
                yield event
        except EdgeLMError as error:
            if is_new:  # nothing was trained: there is nothing to look at, and nothing to resume
                remove_directory(self.folder.path)
            else:
                self._note_abort(error.message)
            raise
        except (KeyboardInterrupt, GeneratorExit):
            self._note_abort(None)
            raise

    def _note_abort(self, error: str | None) -> None:
        with suppress(OutputError):  # a full disk, which the run ends for, takes no note either
            self.folder.append(Aborted(error))

    def _train(self) -> Iterator[TuneEvent]:
        request, loop = self.request, self.request.settings.loop
        told = forecast(request, self.config, self.data.train) if request.check_fit else None
        loaded = load(request.model, check_fit=request.check_fit, keep_range=True)
        layers = loaded.network.layers
        recomputing = recomputed(layers) if loop.grad_checkpoint else nullcontext()
        with recomputing, training_threads(self.config), _mlx_errors(), ExitStack() as stack:
            rewards = stack.enter_context(self._rewards(loaded))
            phase, asked_at = self._reference_phase(loaded), passed_s()
            if phase is not None:
                with self.control.signals(is_shared=self.workers.size > 1):
                    yield from phase.events()
                if phase.is_stopped:
                    yield _stopped_before_a_step()
                    return
            reference_s = passed_s() - asked_at
            self._require_time(reference_s)
            mx.random.seed(loop.seed)
            make_trainable(loaded.network, request.settings.method)
            if self._objective.scores_answers:
                install_score(loaded.network)
            self._template = template_identity(loaded.tokenizer)
            trainer = self._trainer(loaded, told.plan if told else None, phase, rewards)
            kept = checkpoints(self.folder.checkpoints)
            if kept:
                trainer.restore(load_checkpoint(kept[-1]))
            elif phase is not None:
                trainer.spend(reference_s)
            yield self._started(trainer, told)
            with self.control.signals(is_shared=self.workers.size > 1):
                yield from trainer.events()

    def _require_time(self, reference_s: float) -> None:
        """Refuse to end without a step because the reference took all the time that was asked for."""
        for_s = self.request.settings.loop.for_s
        if self.workers.agree(for_s is not None and reference_s >= for_s):
            raise EngineError(
                f"asking the model as it is took {format_seconds(reference_s)}, and the run was to take {for_s:g} s in all",
                hint=f"its answer is kept: edgelm tune --resume {self.folder.name} has all the time for training",
            )

    def _reference_phase(self, loaded: LoadedModel) -> ReferencePhase | None:
        """What there is to do before adapters are put into the network, which is its own reference until then."""
        if not self._objective.needs_reference or self._objective.data_kind == "rollout":
            return None
        scorer = Scorer(
            loaded.network,
            chunk=self.request.settings.loop.loss_chunk,
            make_caches=lambda *placing: row_caches(loaded.network, self.config, *placing),
        )
        return ReferencePhase(
            self.data, scorer, self._planner, self.folder, self.base, self.workers, self.control
        )

    def _rewards(self, loaded: LoadedModel) -> Rewards:
        """What answers are worth; none where a run draws none. A reward model of the same base uses the weights there are."""
        texts = self.request.settings.rollouts.reward
        if not texts:
            return Rewards(())
        # Before anything is put into the network that is trained.
        base = dataclasses.replace(loaded, network=sharing_copy(loaded.network))
        return read_all_rewards(texts, log=self.folder.path / "rewards.log", beside=lambda: base)

    @cached_property
    def _objective(self) -> Objective:
        return make_objective(self.request.settings.objective)

    def _planner(self, data: Dataset, reference: ReferenceValues | None = None) -> BatchPlanner:
        """The batches of the data to train on, or of the data held out, whose order does not depend on the seed."""
        loop, world = self.request.settings.loop, self.workers.size
        return BatchPlanner(
            data,
            loop.batch_tokens * world,
            loop.seed if data is self.data.train else 0,
            packing=self._packs(),
            world=world,
            sharing=can_share(self.config),
            imitates_prompts=self._objective.imitates_prompts,
            reference=reference,
        )

    def _course(
        self, loaded: LoadedModel, stepper: Stepper, reference: ReferencePhase | None, rewards: Rewards
    ) -> Course:
        data, held_out = self.data.train, self.data.validation
        if isinstance(data, AskedData):
            assert held_out is None or isinstance(held_out, AskedData)
            return course_of_rollouts(
                data,
                held_out,
                loaded=loaded,
                stepper=stepper,
                settings=self.request.settings,
                rewards=rewards,
                folder=self.folder,
                control=self.control,
                packs=self._packs(),
                make_caches=lambda *placing: row_caches(loaded.network, self.config, *placing),
            )
        training = self._planner(data, reference.training if reference else None)
        validation = (
            self._planner(held_out, reference.validation if reference else None) if held_out else None
        )
        return course_of_rows(training, validation, stepper, self.workers)

    def _trainer(
        self,
        loaded: LoadedModel,
        plan: TunePlan | None,
        reference: ReferencePhase | None,
        rewards: Rewards,
    ) -> Trainer:
        request, settings = self.request, self.request.settings
        loop = settings.loop
        stepper = Stepper(
            loaded.network,
            Optimizer(settings.optimizer),
            self._objective,
            clip=settings.optimizer.clip,
            chunk=loop.loss_chunk,
            compiled=loop.compiled,
            make_caches=lambda *placing: row_caches(loaded.network, self.config, *placing),
        )
        validation = self.data.validation
        says = bool(request.answer_tokens) and not self._objective.scores_answers
        prompts = (
            choose_prompts(request.prompts, loaded.tokenizer, validation or self.data.train) if says else ()
        )
        course = self._course(loaded, stepper, reference, rewards)
        return Trainer(
            stepper=stepper,
            batches=course.batches,
            validate=course.validate,
            settings=settings,
            folder=self.folder,
            export=self._export,
            publish=self._publish,
            say=PromptAnswers(loaded, prompts, request.answer_tokens),
            name_row=lambda row: str(self.data.train[row].origin),
            control=self.control,
            power_policy=PowerPolicy(loop.pause_on, self.look),
            workers=self.workers,
            plan=plan,
            clock=passed_s,
            work_clock=time.monotonic,
        )

    def _packs(self) -> bool:
        return self.request.settings.loop.packing and can_pack(self.config)

    def _export(self, directory: Path, parameters: Any, position: Position) -> None:
        receipt = {
            "run": self.folder.name,
            "step": position.step,
            "tokens": position.tokens,
            "data_sha256": self.data.train.sha256,
            "validation_loss": position.best_loss if position.best_step == position.step else None,
        }
        export_adapter(
            directory,
            parameters,
            self.request.settings.method,
            self.base,
            receipt,
            template_sha256=self._template,
        )

    def _publish(self, adapter: Path) -> Path:
        """Copy a finished adapter to where it was asked for; of a run that is resumed after its end, again."""
        target = self.request.output or paths.adapters() / self.folder.name
        published = Manifest.read(target) if target.is_dir() else None
        if published is not None and published.receipt.get("run") == self.folder.name:
            remove_directory(target)
        with atomic_directory(target) as partial:
            for file in adapter.iterdir():
                (partial / file.name).write_bytes(file.read_bytes())
        return target

    def _started(self, trainer: Trainer, told: Forecast | None) -> Started:
        trainer.begin()
        accumulate, position = self.request.settings.loop.accumulate, trainer.position
        data, batches = self.data, trainer.batches
        planner = batches if isinstance(batches, BatchPlanner) else None
        return Started(
            run=self.folder.name,
            model=self.base.name,
            method=self.request.settings.method.method,
            step=trainer.position.step,
            total_steps=trainer.position.total_steps,
            rows=len(data.train),
            validation_rows=len(data.validation or ()),
            tokens_per_epoch=data.train.token_count,
            targets_per_epoch=data.train.target_count,
            trained_parameters=sum(value.size for value in flat_arrays(trainer.stepper.parameters).values()),
            pad_share=planner.pad_share if planner else 0.0,
            is_packed=self._packs(),
            notes=tuple(self._notes(trainer)),
            predicted_bytes=told.plan.peak_bytes if told else None,
            predicted_s=told.seconds_left(position, planner, accumulate, self.workers.size)
            if told and planner
            else None,
        )

    def _notes(self, trainer: Trainer) -> Iterator[str]:
        yield from self.data.train.changes
        loop = self.request.settings.loop
        if loop.packing and not self._packs():
            kind = self.config.get("model_type")
            yield f"rows are not packed: that was not verified for {kind!r}; batches hold rows of like length"
        if loop.loss_chunk and not trainer.stepper.is_chunked:
            yield "all logits are held at once: this architecture's head cannot be taken apart"
        if self.data.validation is None:
            yield "nothing is held out, so the last weights are kept, not the best"


def _stopped_before_a_step() -> RunEnded:
    return RunEnded("stopped", 0, None, None, None, None, 0.0, 0, mx.get_peak_memory())


@contextmanager
def _mlx_errors() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # what MLX raises, out of memory for one
        stopped = watchdog_error(error, "training")
        if stopped is not None:
            raise EngineError(
                stopped.message,
                hint=f"the last checkpoint is whole: edgelm tune --resume goes on from it; {stopped.hint}",
            ) from error
        raise EngineError(
            f"training failed: {error}",
            hint="the last checkpoint is whole: edgelm tune --resume goes on from it",
        ) from error
