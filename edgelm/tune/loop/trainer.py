"""The loop: steps, validations, checkpoints and pauses, told as events.

Everything that decides what a step computes is in its `Position`, the weights, the optimizer and the settings; random
numbers are seeded for each step anew. A checkpoint holds all of it, so a run that was killed and resumed computes what it
would have computed. Knows nothing of files of data, of networks, or of a screen.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx

from edgelm.errors import EngineError, Interrupted
from edgelm.machine.clock import passed_s
from edgelm.machine.power import sleep_allowed
from edgelm.runs.control import RunControl
from edgelm.runs.events import (
    Checkpointed,
    EndReason,
    Paused,
    RunEnded,
    SampleAnswer,
    Stepped,
    TuneEvent,
    Unpaused,
    Validated,
)
from edgelm.runs.folder import RunFolder, remove_directory
from edgelm.runs.watched import CHOSEN_TOKEN_LOG_PROB, watched_warnings, with_chosen_gain
from edgelm.tune.batches.batcher import BatchPlan
from edgelm.tune.loop.checkpoint import TrainingCheckpoint, best_step_of, checkpoints, save_checkpoint
from edgelm.tune.loop.measuring import Batches, HeldOut, find_totals
from edgelm.tune.loop.power_policy import PowerPolicy
from edgelm.tune.loop.run_length import RunLength
from edgelm.tune.loop.workers import Workers
from edgelm.tune.plan.planner import TunePlan
from edgelm.tune.position import Position
from edgelm.tune.settings import TuneSettings
from edgelm.tune.step.schedule import learning_rate
from edgelm.tune.step.stepper import Gradients, Stepper, StepResult

_SMOOTHING = 0.9
_POLL_S = 0.2
_ROWS_NAMED = 8


class _TokenCount(NamedTuple):
    """Tokens of one step, on all machines."""

    read: int
    """Without padding."""
    trained: int


@dataclass
class Trainer:
    """One run under way. Iterate `events()` on the thread that loaded the network."""

    stepper: Stepper
    batches: Batches
    validate: Callable[[], HeldOut] | None
    """Measures what is held out; None where nothing is."""
    settings: TuneSettings
    folder: RunFolder
    export: Callable[[Path, Any, Position], None]
    """(new directory, weights, position): write the adapter there."""
    publish: Callable[[Path], Path]
    """Put the adapter of a run that ended where others find it."""
    say: Callable[[], tuple[SampleAnswer, ...]] = tuple
    """What the network answers now to the fixed prompts."""
    name_row: Callable[[int], str] = str
    """Where a row of the data was written."""
    control: RunControl = field(default_factory=RunControl)
    power_policy: PowerPolicy = field(default_factory=lambda: PowerPolicy(()))
    workers: Workers = field(default_factory=Workers.alone)
    plan: TunePlan | None = None
    """What was predicted; corrected once a batch of the shape that takes most has run."""
    clock: Callable[[], float] = passed_s
    """The clock of the time budget and of checkpoints, in seconds: it goes on while the machine sleeps."""
    work_clock: Callable[[], float] | None = None
    """The clock of steps and rates, in seconds: it may stand still in sleep; None is `clock`."""
    sleep: Callable[[float], None] = time.sleep
    position: Position = field(default_factory=Position)

    def __post_init__(self) -> None:
        accumulate = self.settings.loop.accumulate
        self._length = RunLength(self.settings.loop, -(-self.batches.batches_per_epoch // accumulate))
        self._plans: tuple[int, Sequence[BatchPlan]] | None = None
        self._memory_bytes = 0
        self._shapes_run: set[tuple[int, ...]] = set()
        self._saved_step: int | None = None
        self._tick = self.work_clock or self.clock
        self._spent_at = self._saved_at = self.clock()

    def restore(self, checkpoint: TrainingCheckpoint) -> None:
        """Go on from a checkpoint."""
        self.position = checkpoint.position
        self.stepper.restore(checkpoint.parameters, checkpoint.optimizer)

    def spend(self, seconds: float) -> None:
        """Count what went before the first step, of the time that was asked for."""
        self.position.elapsed_s += seconds

    def begin(self) -> None:
        """Fix the number of steps, where it does not depend on time; again is a no-op."""
        self._length.begin(self.position)

    def events(self) -> Iterator[TuneEvent]:
        """Train to the end, or until stopped; either way a checkpoint is left.

        Raises:
            EngineError: a loss or gradient that is not finite, with the rows; or MLX failed.
            OutputError: the disk refuses; the last checkpoint is whole.
        """
        try:
            yield from self._run()
        except Interrupted:  # told to stop while answers were drawn: they are drawn again later
            yield from self._checkpoint()
            yield self._ended("stopped")

    def _run(self) -> Iterator[TuneEvent]:
        self.begin()
        self._spent_at = self._saved_at = self.clock()
        if self.validate is not None and not self.position.is_validated:
            yield from self._validate()
        while not self.workers.agree(self._is_over()):
            yield from self._obey()
            if self.workers.agree(self.control.should_stop):
                yield from self._checkpoint()
                yield self._ended("stopped")
                return
            yield self._step()
            if self._length.is_validation_due(self.position) and self.validate is not None:
                yield from self._validate()
            if self._is_stale():
                break
            if self._length.is_checkpoint_due(self.position, self.clock() - self._saved_at):
                yield from self._checkpoint()
        yield from self._finish()

    def _finish(self) -> Iterator[TuneEvent]:
        measured = self.position.step and self._length.is_validation_due(self.position)
        if self.validate is not None and not measured and not self._is_stale():
            yield from self._validate()
        yield from self._checkpoint()
        reason: EndReason = "done"
        if self._is_stale():
            reason = "patience"
        elif self.settings.loop.for_s is not None:
            reason = "time"
        result = self._result()
        yield self._ended(reason, self.publish(result) if self.workers.is_first else None, result)

    def _is_over(self) -> bool:
        self._spend()
        return self._length.is_over(self.position)

    def _is_stale(self) -> bool:
        patience = self.settings.loop.patience
        return patience is not None and self.position.stale >= patience

    def _obey(self) -> Iterator[TuneEvent]:
        """Do what was asked for, and wait while there is a reason to."""
        self.control.look()
        if self.control.take_checkpoint():
            yield from self._checkpoint()
        reason = self._reason_to_pause()
        if reason is None:
            return
        yield from self._checkpoint()
        self._spend()
        yield Paused(self.position.step, reason)
        began = self.clock()
        with sleep_allowed():
            while self._reason_to_pause() is not None and not self.control.should_stop:
                self.sleep(_POLL_S)
                self.control.look()
        self._spent_at = self.clock()  # a pause is not part of the time that was asked for
        yield Unpaused(self.position.step, self._spent_at - began)

    def _reason_to_pause(self) -> str | None:
        return "asked to" if self.control.should_pause else self.power_policy.reason_to_pause()

    def _step(self) -> Stepped:
        position, began = self.position, self._tick()
        planned = self._next_plans()
        plans = self.batches.ready(planned)
        mx.random.seed(self._step_seed())
        rate = self._rate()
        gradients, count = self._gradients(plans)
        result = self.stepper.update(gradients, rate)
        if not result.is_finite:
            self._refuse(result, plans)
        elapsed_s = self._tick() - began
        self._advance(result, count, len(planned), elapsed_s)
        self._length.fit(position)
        return self._stepped(result, rate, count, elapsed_s)

    def _gradients(self, plans: Sequence[BatchPlan]) -> tuple[Gradients, _TokenCount]:
        total: Gradients | None = None
        read = trained = 0
        totals = find_totals(self.stepper, self.batches, plans, self.workers)
        for plan in plans:
            batch = self.batches.load(self.workers.share(plan))
            read, trained = read + int(batch.lengths.sum()), trained + batch.target_count
            part = self.stepper.gradients(batch, totals)
            self._shapes_run.add(batch.inputs.shape)
            total = part if total is None else total + part
            if len(plans) > 1:
                mx.eval(total.tree, total.loss)
        assert total is not None
        gradients = self.workers.sum(total)
        return gradients, _TokenCount(*map(round, self.workers.sum_numbers(read, trained)))

    def _step_seed(self) -> int:
        """Return the seed of dropout in this step, on this machine."""
        text = f"{self.settings.loop.seed}/{self.position.step}/{self.workers.rank}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")

    def _rate(self) -> float:
        optimizer = self.settings.optimizer
        return learning_rate(
            self.position.step,
            self._length.planned_steps(self.position),
            peak=self.settings.learning_rate,
            warmup=optimizer.warmup,
            kind=optimizer.schedule,
        )

    def _next_plans(self) -> Sequence[BatchPlan]:
        """The batches of the next step: never of two epochs."""
        position = self.position
        if self._plans is None or self._plans[0] != position.epoch:
            self._plans = (position.epoch, self.batches.epoch(position.epoch))
        return self._plans[1][position.batch : position.batch + self.settings.loop.accumulate]

    def _advance(self, result: StepResult, count: _TokenCount, batches: int, elapsed_s: float) -> None:
        position = self.position
        position.step += 1
        position.batch += batches
        if position.batch >= self.batches.batches_per_epoch:
            position.epoch, position.batch = position.epoch + 1, 0
        position.tokens += count.read
        position.targets += count.trained
        position.average = _SMOOTHING * position.average + (1 - _SMOOTHING) * result.loss
        self._spend()
        self._length.measured_step(elapsed_s)

    def _spend(self) -> None:
        """Count all that has passed since the last call, whatever it went into: checkpoints, readers of events, sleep."""
        now = self.clock()
        self.position.elapsed_s += now - self._spent_at
        self._spent_at = now

    def _stepped(self, result: StepResult, rate: float, count: _TokenCount, elapsed_s: float) -> Stepped:
        position = self.position
        self._memory_bytes = max(self._memory_bytes, mx.get_peak_memory())
        plan = self._corrected_plan()
        return Stepped(
            step=position.step,
            total_steps=position.total_steps,
            epoch=position.epoch + position.batch / self.batches.batches_per_epoch,
            loss=result.loss,
            smoothed=_smoothed(position) or result.loss,
            learning_rate=rate,
            grad_norm=result.grad_norm,
            targets=count.trained,
            tokens=count.read,
            tokens_per_s=count.read / max(elapsed_s, 1e-9),
            memory_bytes=self._memory_bytes,
            elapsed_s=position.elapsed_s,
            eta_s=self._length.eta_s(position),
            expected_bytes=plan.peak_bytes if plan else None,
            is_over_budget=plan is not None and plan.verdict == "does not fit",
            metrics={**self.batches.step_metrics(), **result.metrics},
            warnings=tuple(watched_warnings(result.metrics)),
        )

    def _corrected_plan(self) -> TunePlan | None:
        plan = self.plan
        if plan is not None:
            is_measured = (plan.shape.lanes, plan.shape.length) in self._shapes_run
            if is_measured or self._memory_bytes > plan.peak_bytes:
                self.plan = plan.corrected(self._memory_bytes)
        return self.plan

    def _refuse(self, result: StepResult, plans: Sequence[BatchPlan]) -> None:
        """Stop at numbers that are not finite; the weights are those before the step."""
        directory = self._save() if self.workers.is_first else self.folder.checkpoints
        rows = [self.name_row(row) for plan in plans for row in plan.rows]
        named = ", ".join(rows[:_ROWS_NAMED]) + (
            f" and {len(rows) - _ROWS_NAMED} more" if len(rows) > _ROWS_NAMED else ""
        )
        what = "loss" if result.loss != result.loss else "gradient"
        raise EngineError(
            f"the {what} of step {self.position.step + 1} is not finite ({result.loss:g}, norm {result.grad_norm:g});"
            f" its rows are {named}",
            hint=f"the weights before it are in {directory}; lower --learning-rate, or look at those rows",
        )

    def _validate(self) -> Iterator[TuneEvent]:
        assert self.validate is not None
        position, began = self.position, self._tick()
        found = self.validate()
        answers = self.say() if self.workers.is_first else ()
        if not position.is_validated:
            position.first_chosen = found.metrics.get(CHOSEN_TOKEN_LOG_PROB)
        metrics = with_chosen_gain(found.metrics, position.first_chosen)
        self._note_validation(found.loss)
        self._spend()
        self._length.measured_validation(self._tick() - began)
        assert position.best_loss is not None
        assert position.best_step is not None
        yield Validated(
            position.step,
            found.loss,
            position.best_loss,
            position.best_step,
            found.tokens,
            position.elapsed_s,
            answers,
            metrics,
            tuple(watched_warnings(metrics)),
        )

    def _note_validation(self, loss: float) -> None:
        position = self.position
        if not math.isfinite(loss):
            raise EngineError(
                f"the validation loss after step {position.step} is not finite ({loss:g})",
                hint="look at the validation rows, and at the base itself if this is step 0",
            )
        position.is_validated = True
        if position.best_loss is not None and loss >= position.best_loss:
            position.stale += 1
            return
        position.best_loss, position.best_step, position.stale = loss, position.step, 0
        if position.step:  # the base itself, measured before the first step, is no result to keep
            self._export()

    def _export(self) -> Path:
        """Write the adapter as it is now, where `_result` finds it."""
        directory = self.folder.adapter_at(self.position.step)
        if self.workers.is_first:
            remove_directory(directory)  # of a run that was killed after it, and resumed from before
            self.export(directory, self.stepper.parameters, self.position)
        return directory

    def _result(self) -> Path:
        """The adapter to keep: the best where there is validation, else the last."""
        best = self.position.best_step
        return self.folder.adapter_at(best) if best else self._export()

    def _checkpoint(self) -> Iterator[TuneEvent]:
        if self.workers.is_first and self._saved_step != self.position.step:
            yield Checkpointed(self.position.step, str(self._save()))

    def _save(self) -> Path:
        stepper, keep = self.stepper, self.settings.loop.keep
        saved = save_checkpoint(
            self.folder.checkpoints, self.position, stepper.parameters, stepper.state, keep=keep
        )
        self._saved_step, self._saved_at = self.position.step, self.clock()
        self.folder.prune_adapters({best_step_of(path) for path in checkpoints(self.folder.checkpoints)})
        return saved

    def _ended(self, reason: EndReason, adapter: Path | None = None, result: Path | None = None) -> RunEnded:
        position = self.position
        return RunEnded(
            reason=reason,
            step=position.step,
            loss=_smoothed(position),
            best_loss=position.best_loss,
            adapter=str(adapter) if adapter else None,
            adapter_step=int(result.name.rpartition("-")[2]) if result else None,
            elapsed_s=position.elapsed_s,
            tokens=position.tokens,
            memory_bytes=self._memory_bytes,
        )


def _smoothed(position: Position) -> float | None:
    """The moving average of the loss, without the zero it began with (as in Adam, arXiv:1412.6980)."""
    return position.average / (1 - _SMOOTHING**position.step) if position.step else None
