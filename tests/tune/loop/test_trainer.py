"""The loop: how long it runs, when it stops, what it keeps, and what it says of bad numbers."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from checkpoints import write_checkpoint
from tuning import request, run, write_chats

from edgelm import paths
from edgelm.adapters.files import read_adapter
from edgelm.errors import EngineError, FitError, FormatError, OptionError, OutputError, UnsupportedError
from edgelm.model.load import load
from edgelm.runs.control import RunControl, send
from edgelm.runs.events import (
    Checkpointed,
    Paused,
    RunEnded,
    Started,
    Stepped,
    TuneEvent,
    Unpaused,
    Validated,
    from_json,
    to_json,
)
from edgelm.runs.folder import RunFolder, create_run, find_run
from edgelm.runs.shelf import RunShelf
from edgelm.tune.batches.batcher import BatchPlan, TrainingBatch
from edgelm.tune.loop.begin import begin, resume
from edgelm.tune.loop.checkpoint import checkpoints
from edgelm.tune.loop.measuring import measure
from edgelm.tune.loop.power_policy import PowerPolicy
from edgelm.tune.loop.trainer import Trainer
from edgelm.tune.loop.workers import Workers
from edgelm.tune.plan.planner import TunePlan
from edgelm.tune.plan.trace.step import BatchShape
from edgelm.tune.plan.trace.work import Work
from edgelm.tune.settings import TuneSettings
from edgelm.tune.step.stepper import Gradients, MeasuredSums, StepResult
from edgelm_converters.convert import convert


class FakeClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class FakeStepper:
    """Takes a second a step and says the losses it is given."""

    clock: FakeClock
    losses: list[float] = field(default_factory=list)
    step_s: float = 1.0
    validation_s: float = 2.0
    parameters: Any = field(default_factory=lambda: {"w": mx.zeros((1,))})
    state: Any = field(default_factory=lambda: {"step": mx.array(0)})
    rates: list[float] = field(default_factory=list)
    bad_step: int | None = None

    def totals(self, batch: TrainingBatch) -> None:
        return None

    def gradients(self, batch: TrainingBatch, totals: None) -> Gradients:
        return Gradients({}, mx.array(1.0), mx.array(float(batch.target_count)))

    def update(self, gradients: Gradients, rate: float) -> StepResult:
        self.clock.now += self.step_s
        self.rates.append(rate)
        loss = float("nan") if len(self.rates) == self.bad_step else 2.0
        return StepResult(loss, 1.0)

    def measure(self, batches: list[TrainingBatch], totals: None) -> MeasuredSums:
        self.clock.now += self.validation_s
        return MeasuredSums(self.losses.pop(0) if self.losses else 1.0, 1)


@dataclass
class SleepyStepper(FakeStepper):
    """In one step the machine sleeps."""

    awake: FakeClock = field(default_factory=FakeClock)
    asleep_at: int = 0
    asleep_s: float = 0.0

    def update(self, gradients: Gradients, rate: float) -> StepResult:
        self.awake.now += self.step_s
        if len(self.rates) + 1 == self.asleep_at:
            self.clock.now += self.asleep_s
        return super().update(gradients, rate)


class FakeBatches:
    batches_per_epoch = 10

    def epoch(self, number: int) -> list[BatchPlan]:
        return [BatchPlan(((10 * number + index,),), 4) for index in range(self.batches_per_epoch)]

    def ready(self, plans: Sequence[BatchPlan]) -> Sequence[BatchPlan]:
        return plans

    def step_metrics(self) -> dict[str, float]:
        return {}

    def load(self, plan: BatchPlan) -> TrainingBatch:
        ones = np.ones((1, 4))
        return TrainingBatch(
            ones.astype(np.int32), ones.astype(np.int32), ones.astype(np.float32), None,
            np.array([4], np.int32), plan.rows,
        )  # fmt: skip


class OneValidation(FakeBatches):
    batches_per_epoch = 1


class ShortFirst(FakeBatches):
    """The first batch is half as long as the others."""

    def load(self, plan: BatchPlan) -> TrainingBatch:
        batch = super().load(plan)
        return dataclasses.replace(batch, inputs=batch.inputs[:, :2]) if plan.rows == (0,) else batch


def planned(length: int) -> TunePlan:
    """900 bytes predicted for batches of one lane, 1,000 safe."""
    work = Work(1, 1, 1)
    shape = BatchShape(1, length)
    return TunePlan(TuneSettings(), shape, 100, 1, 4, 8, 900, 1000, "tight", work)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def trainer(clock: FakeClock, home: Path, *, losses: list[float] | None = None, **options: Any) -> Trainer:
    stepper = options.pop("stepper", None) or FakeStepper(clock, losses or [])
    more = {name: options.pop(name) for name in ("control", "power_policy", "work_clock") if name in options}
    return Trainer(
        stepper=stepper,
        batches=FakeBatches(),
        validate=None if losses is None else lambda: measure(stepper, OneValidation(), Workers.alone()),
        settings=TuneSettings.build(**options),
        folder=create_run("model", "lora", {}, "run"),
        export=lambda directory, *_: directory.mkdir(parents=True),
        publish=lambda directory: directory,
        name_row=lambda row: f"data.jsonl:{row + 1}",
        clock=clock,
        sleep=clock.sleep,
        **more,
    )


def of(kind: type, events: list[TuneEvent]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def ended(events: list[TuneEvent]) -> RunEnded:
    assert isinstance(events[-1], RunEnded)
    return events[-1]


def test_epochs_become_steps_that_never_mix_two_epochs(clock: FakeClock, home: Path) -> None:
    events = list(trainer(clock, home, epochs=2, accumulate=3).events())
    steps = of(Stepped, events)
    assert [step.epoch for step in steps] == [0.3, 0.6, 0.9, 1.0, 1.3, 1.6, 1.9, 2.0]
    assert [step.tokens for step in steps] == [12, 12, 12, 4] * 2
    assert ended(events).reason == "done"


def test_the_learning_rate_rises_and_falls(clock: FakeClock, home: Path) -> None:
    run_ = trainer(clock, home, steps=20, warmup=0.1, learning_rate=1e-3)
    list(run_.events())
    rates = run_.stepper.rates  # type: ignore[attr-defined]
    assert rates[:3] == [5e-4, 1e-3, 1e-3]
    assert rates[-1] == pytest.approx(1e-4, rel=0.1)
    assert rates[2:] == sorted(rates[2:], reverse=True)


def test_a_time_budget_is_kept_and_its_schedule_ends_with_it(clock: FakeClock, home: Path) -> None:
    """100 s at 1 s a step and 2 s a validation, the first steps slower."""
    run_ = trainer(clock, home, losses=[], for_s=100.0, learning_rate=1e-3)
    run_.stepper.losses = [1 / n for n in range(1, 50)]  # type: ignore[attr-defined]
    events = list(run_.events())
    assert 90 < clock.now <= 100
    assert ended(events).reason == "time"
    assert of(Checkpointed, events)[-1].step == ended(events).step
    rates = run_.stepper.rates  # type: ignore[attr-defined]
    assert max(rates) == pytest.approx(1e-3, rel=0.05)
    assert rates[-1] < 1.5e-4
    totals = [step.total_steps for step in of(Stepped, events)]
    assert totals[0] is None
    assert abs(totals[10] - ended(events).step) <= 4


def test_a_slow_step_does_not_break_the_budget(clock: FakeClock, home: Path) -> None:
    run_ = trainer(clock, home, for_s=30.0)
    for event in run_.events():
        if isinstance(event, Stepped) and event.step == 10:
            run_.stepper.step_s = 4.0  # type: ignore[attr-defined]
    assert clock.now <= 30


def test_a_night_asleep_uses_up_the_time_that_was_asked_for(clock: FakeClock, home: Path) -> None:
    """The clock that counts sleep jumps; the one of steps stood still, so the pace is what it was."""
    awake = FakeClock()
    stepper = SleepyStepper(clock, awake=awake, asleep_at=20, asleep_s=50.0)
    events = list(trainer(clock, home, stepper=stepper, for_s=100.0, work_clock=awake).events())
    assert ended(events).reason == "time"
    assert 90 < clock.now <= 100, "neither 100 steps awake, nor an end as if every step could take so long"
    slept = of(Stepped, events)[19]
    assert (slept.elapsed_s, slept.tokens_per_s) == (70.0, of(Stepped, events)[18].tokens_per_s)


def test_what_passes_between_steps_counts_too(clock: FakeClock, home: Path) -> None:
    count = 0
    for event in trainer(clock, home, for_s=30.0).events():
        if isinstance(event, Stepped):
            count += 1
            clock.now += 1.0  # a slow reader, a checkpoint
    assert 12 <= count <= 15


def test_a_checkpoint_is_never_older_than_ten_minutes(clock: FakeClock, home: Path) -> None:
    """A run of a day has a tenth of it between validations: a watchdog would take hours."""
    stepper = FakeStepper(clock, step_s=100.0)
    events = list(trainer(clock, home, stepper=stepper, steps=100, validate_every=50).events())
    kept = [event.step for event in of(Checkpointed, events)]
    assert kept[:3] == [6, 12, 18]
    assert max(later - earlier for earlier, later in itertools.pairwise([0, *kept])) <= 6


def test_patience_ends_a_run_and_the_best_is_kept(clock: FakeClock, home: Path) -> None:
    losses = [5.0, 4.0, 3.0, 3.5, 3.4, 3.2, 9.9]
    events = list(trainer(clock, home, losses=losses, steps=100, validate_every=2, patience=3).events())
    last = ended(events)
    assert (last.reason, last.step, last.best_loss, last.adapter_step) == ("patience", 10, 3.0, 4)
    assert Path(last.adapter or "").is_dir()


def test_without_a_better_validation_the_last_weights_are_the_result(clock: FakeClock, home: Path) -> None:
    events = list(trainer(clock, home, losses=[1.0, 2.0, 2.0], steps=4, validate_every=2).events())
    assert (ended(events).adapter_step, ended(events).best_loss) == (4, 1.0)


def test_old_checkpoints_are_removed_but_not_the_best(clock: FakeClock, home: Path) -> None:
    losses = [5.0, 1.0, *[4.0] * 20]
    run_ = trainer(clock, home, losses=losses, steps=20, validate_every=2, checkpoint_every=2, keep=2)
    list(run_.events())
    assert [path.name for path in checkpoints(run_.folder.checkpoints)] == ["step-00000018", "step-00000020"]
    assert run_.folder.adapter_at(2).is_dir()


def test_numbers_that_are_not_finite_end_the_run_with_their_rows(clock: FakeClock, home: Path) -> None:
    run_ = trainer(clock, home, stepper=FakeStepper(clock, bad_step=3), steps=9, accumulate=2)
    with pytest.raises(EngineError) as caught:
        list(run_.events())
    assert "step 3 is not finite (nan" in caught.value.message
    assert "data.jsonl:5, data.jsonl:6" in caught.value.message
    assert checkpoints(run_.folder.checkpoints)[-1].name == "step-00000002"


def test_pausing_for_battery_writes_a_checkpoint_waits_and_goes_on(clock: FakeClock, home: Path) -> None:
    began: float | None = None
    policy = PowerPolicy(
        ("battery",), lambda _: began is not None and clock() - began < 60, clock, every_s=0.0
    )
    run_ = trainer(clock, home, steps=6, power_policy=policy)
    seen: list[TuneEvent] = []
    for event in run_.events():
        seen.append(event)
        if isinstance(event, Stepped) and event.step == 2:
            began = clock()
    assert isinstance(seen[seen.index(of(Paused, seen)[0]) - 1], Checkpointed)
    (paused,), (unpaused,) = of(Paused, seen), of(Unpaused, seen)
    assert (paused.step, paused.reason) == (2, "battery")
    assert unpaused.paused_s == pytest.approx(60, abs=1)
    assert ended(seen).step == 6
    assert ended(seen).elapsed_s == pytest.approx(6), "a pause is not training"


def test_orders_come_through_the_control_file(clock: FakeClock, home: Path) -> None:
    run_ = trainer(clock, home, steps=9, control=RunControl(paths.runs() / "run" / "control"))
    seen = []
    for event in run_.events():
        seen.append(event)
        if isinstance(event, Stepped) and event.step in (2, 5):
            send(run_.folder.path, "checkpoint" if event.step == 2 else "stop")
    assert [event.step for event in of(Checkpointed, seen)] == [1, 2, 3, 4, 5]
    assert (ended(seen).reason, ended(seen).step, ended(seen).adapter) == ("stopped", 5, None)
    with pytest.raises(OptionError, match="the order is 'halt'"):
        send(run_.folder.path, "halt")


# From here on with a real network.


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("base") / "model"
    write_checkpoint(directory, num_hidden_layers=2)
    return directory


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_chats(tmp_path / "chats.jsonl")


@pytest.mark.slow
def test_a_run_learns_and_leaves_an_adapter_a_log_and_curves(base: Path, data: Path, home: Path) -> None:
    events = run(request(base, data, answer_tokens=3, steps=20))
    (started,) = of(Started, events)
    assert (started.rows, started.validation_rows, started.is_packed) == (23, 1, True)
    validations = of(Validated, events)
    assert validations[-1].loss < validations[0].loss - 1
    assert len(validations[0].answers) == 1
    assert list(find_run("run").events()) == events
    adapter = read_adapter(paths.adapters() / "run")
    assert adapter.config.base_sha256 is not None
    (log,) = RunShelf().look()
    row = log.summary()
    assert (row.status, row.step, row.name) == ("finished", 20, "run")
    assert len(log.curves["loss"]) == 20
    assert log.curves["validation"][0] == (0, pytest.approx(validations[0].loss))


@pytest.mark.slow
def test_dropout_orders_and_first_weights_follow_the_seed(base: Path, data: Path, home: Path) -> None:
    def weights(name: str, seed: int) -> bytes:
        run(request(base, data, name=name, seed=seed, steps=3, hold_out=0.0))
        return (paths.adapters() / name / "adapters.safetensors").read_bytes()

    assert weights("a", 1) == weights("b", 1) != weights("c", 2)


@pytest.mark.slow
def test_stopped_and_resumed_in_one_process(base: Path, data: Path, home: Path) -> None:
    session = begin(request(base, data, name="cut"))
    for event in session.events():
        if isinstance(event, Stepped) and event.step == 5:
            session.control.give("stop")
    again = list(resume(find_run("cut")).events())
    assert of(Started, again)[0].step == 5
    assert ended(again).step == 12
    run(request(base, data, name="whole"))
    pair = [(paths.adapters() / name / "adapters.safetensors").read_bytes() for name in ("cut", "whole")]
    assert pair[0] == pair[1]


@pytest.mark.slow
def test_a_run_that_an_error_or_its_user_ends_says_so_and_goes_on(
    base: Path, data: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def status() -> tuple[str, str | None]:
        (log,) = RunShelf().look()
        return log.status(), log.summary().error

    events = begin(request(base, data, hold_out=0.0, steps=3)).events()
    assert isinstance(next(events), Started)
    assert status() == ("running", None)
    events.close()
    assert status() == ("stopped", None)
    with monkeypatch.context() as patched:
        patched.setattr("edgelm.tune.step.stepper.Stepper.update", lambda *_: StepResult(float("nan"), 1.0))
        with pytest.raises(EngineError) as raised:
            list(resume(find_run("run")).events())
    assert status() == ("failed", raised.value.message)
    list(resume(find_run("run")).events())
    assert status() == ("finished", None)


@pytest.mark.slow
def test_a_run_is_trained_by_one_process_at_a_time(base: Path, data: Path, home: Path) -> None:
    session = begin(request(base, data))
    other = RunFolder(session.folder.path)
    other.lock()
    with pytest.raises(OutputError, match=f"is being trained by process {os.getpid()}"):
        list(session.events())
    other.unlock()
    list(session.events())


@pytest.mark.slow
def test_a_number_that_a_reboot_left_behind_is_nobody(base: Path, data: Path, home: Path) -> None:
    """Process 1 always lives; who holds no lock does not train."""
    session = begin(request(base, data))
    (session.folder.path / "pid").write_text("1")
    assert session.folder.owner() is None
    list(session.events())
    assert session.folder.owner() is None


def test_bad_rows_are_named_before_anything_is_loaded(base: Path, tmp_path: Path, home: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"messages": [{"role": "user", "content": "hi"}]}\nnot json\n')
    with pytest.raises(FormatError) as caught:
        begin(request(base, path))
    assert "bad.jsonl:2" in str(caught.value)
    assert not paths.runs().exists()


def test_an_output_that_exists_is_refused_before_anything_is_trained(
    base: Path, data: Path, home: Path
) -> None:
    (paths.adapters() / "run").mkdir(parents=True)
    with pytest.raises(OutputError, match="already exists"):
        begin(request(base, data))
    assert not paths.runs().exists()


def test_events_survive_json() -> None:
    events: list[TuneEvent] = [
        Stepped(1, None, 0.1, 2.0, 2.0, 1e-4, 1.0, 3, 4, 5.0, 6, 7.0, None),
        Validated(4, 1.0, 1.0, 4, 9, 2.0, ()),
        Paused(3, "heat"),
    ]
    assert [from_json(to_json(event)) for event in events] == events
    assert json.loads(to_json(Validated(1, float("nan"), 1.0, 0, 1, 1.0)))["loss"] is None


def test_a_log_cut_short_by_a_kill_is_still_read(home: Path) -> None:
    folder: RunFolder = create_run("model", "lora", {}, "run")
    folder.append(Paused(3, "heat"))
    with (folder.path / "events.jsonl").open("a") as file:
        file.write('{"event": "stepped", "st')
    assert list(folder.events()) == [Paused(3, "heat")]


def test_preferences_are_not_imitated_and_quantized_weights_not_trained(
    base: Path, data: Path, tmp_path: Path, home: Path
) -> None:
    pairs = tmp_path / "pairs.jsonl"
    row = {"prompt": "what is {n}", "chosen": "it is {n}", "rejected": "no"}
    pairs.write_text("".join(json.dumps(row).replace("{n}", str(n)) + "\n" for n in range(9)))
    with pytest.raises(UnsupportedError, match="preference rows"):
        begin(request(base, pairs))
    packed = convert(base, tmp_path / "packed", quality="rtn", bits=4, group_size=32, verify=False).directory
    with pytest.raises(UnsupportedError, match="packed is quantized"):
        begin(request(packed, data, method="full"))


@pytest.mark.slow
def test_an_adapter_on_a_quantized_base_is_loaded_on_that_base_only(
    base: Path, data: Path, tmp_path: Path, home: Path
) -> None:
    packed = convert(base, tmp_path / "packed", quality="rtn", bits=4, group_size=32, verify=False).directory
    run(request(packed, data, steps=3))
    assert load(packed, adapter=paths.adapters() / "run", check_fit=False).adapters.weights == {"run": 1.0}
    with pytest.raises(UnsupportedError, match="was trained on"):
        load(base, adapter=paths.adapters() / "run", check_fit=False)


@pytest.mark.slow
def test_memory_is_predicted_before_anything_is_loaded_and_refused_where_it_does_not_fit(
    base: Path, data: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gc.collect()
    before = mx.get_active_memory()  # what other tests of this process still hold is not the run's
    events = run(request(base, data, name="fits", steps=2, check_fit=True))
    (started,) = of(Started, events)
    measured = of(Stepped, events)[-1].memory_bytes - before
    assert started.predicted_bytes == pytest.approx(measured, rel=0.5)
    assert started.predicted_s is not None
    assert started.predicted_s > 0
    monkeypatch.setattr("edgelm.device.memory_budget_bytes", lambda _: 1_000_000)
    with pytest.raises(FitError, match="training needs"):
        run(request(base, data, name="large", steps=2, check_fit=True))


def test_a_validation_that_is_not_finite_ends_the_run(clock: FakeClock, home: Path) -> None:
    with pytest.raises(EngineError, match="validation loss after step 2 is not finite"):
        list(trainer(clock, home, losses=[1.0, float("nan")], steps=4, validate_every=2).events())


def test_the_first_step_of_the_largest_shape_corrects_the_plan(
    clock: FakeClock, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = trainer(clock, home, steps=3)
    one.plan, one.batches = planned(length=4), ShortFirst()
    monkeypatch.setattr(mx, "get_peak_memory", iter([400, 700, 700]).__next__)
    steps = of(Stepped, list(one.events()))
    assert [step.expected_bytes for step in steps] == [900, 700, 700]
    assert not any(step.is_over_budget for step in steps)


def test_a_run_that_takes_more_than_was_predicted_says_so(
    clock: FakeClock, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = trainer(clock, home, steps=2)
    one.plan = planned(length=7)
    monkeypatch.setattr(mx, "get_peak_memory", iter([800, 1001]).__next__)
    steps = of(Stepped, list(one.events()))
    assert [(step.expected_bytes, step.is_over_budget) for step in steps] == [(900, False), (1001, True)]
