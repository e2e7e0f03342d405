"""`edgelm plan MODEL --tune`: what training would take in memory and time, and settings that fit."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from edgelm.cli.show.facts import labelled
from edgelm.cli.show.output import print_json
from edgelm.cli.show.progress_bars import progress_bars
from edgelm.errors import OptionError
from edgelm.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from edgelm.device import Device
    from edgelm.model.described import Described
    from edgelm.tune.data.dataset import Dataset
    from edgelm.tune.plan.planner import TunePlan
    from edgelm.tune.settings import TuneSettings

_FLAGS = (
    "method",
    "rank",
    "optimizer",
    "batch_tokens",
    "grad_checkpoint",
    "packing",
    "accumulate",
    "loss_chunk",
    "loss",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags that decide the cost of training; `edgelm tune` has the same."""
    from edgelm.tune.objectives.settings import ObjectiveSettings
    from edgelm.tune.settings import LoopSettings, MethodSettings, OptimizerSettings

    group = parser.add_argument_group("training")
    group.add_argument("--tune", action="store_true", help="plan training it instead of running it")
    group.add_argument("--data", metavar="FILE", help="what to train on: decides the batches and the time")
    for settings in (MethodSettings, OptimizerSettings, ObjectiveSettings, LoopSettings):
        settings.add_flags(group, only=_FLAGS)


def refuse_without_tune(arguments: argparse.Namespace) -> None:
    """Flags of training that would be ignored."""
    given = [name for name in ("data", *_FLAGS) if getattr(arguments, name) is not None]
    if given:
        raise OptionError(f"--{given[0].replace('_', '-')} is about training", hint="add --tune")


def run(arguments: argparse.Namespace, model: Described, device: Device) -> None:
    """Print the plan of training `model` on `device`."""
    from edgelm.tune.plan.planner import TunePlanner
    from edgelm.tune.settings import TuneSettings

    settings = TuneSettings.build(**{name: getattr(arguments, name) for name in _FLAGS})
    data = _read_data(arguments.data, model, settings) if arguments.data else None
    planner = TunePlanner(model.config, model.headers, model.directory, device, data)
    plan = planner.plan(settings)
    proposal = planner.propose(settings) if plan.verdict == "does not fit" else None
    epoch_s = _epoch_seconds(plan, settings, data, is_here=arguments.chip is None)
    if arguments.json:
        shown = {"plan": _json(plan), "proposal": _json(proposal), "epoch_seconds": epoch_s}
        print_json({"model": model.name, "device": device, **shown})
        return
    print(f"training {model.name} on {device.chip}")
    facts = list(_lines(plan, epoch_s))
    if plan.verdict == "does not fit":
        facts.append(("would fit", _proposal_text(proposal)))
    for line in labelled(facts):
        print(line)


def _read_data(file: str, model: Described, settings: TuneSettings) -> Dataset:
    from edgelm.model.load import load_tokenizer
    from edgelm.tune.data.prepare import prepare
    from edgelm.tune.data.reading.sources import find_sources
    from edgelm.tune.objectives.settings import make_objective

    tokenizer = load_tokenizer(model.directory, model.config)
    with progress_bars() as on_progress:
        is_scored = make_objective(settings.objective).scores_answers
        prepared = prepare(find_sources(file).train, tokenizer, is_scored=is_scored, on_progress=on_progress)
    prepared.report.require_clean()
    return prepared.train


def _epoch_seconds(
    plan: TunePlan, settings: TuneSettings, data: Dataset | None, *, is_here: bool
) -> float | None:
    """Estimate an epoch by this machine's measured rates; another's are not known before a step has run there."""
    if data is None or not is_here:
        return None
    from edgelm.pricing.machine_rates import measure_rates
    from edgelm.tune.batches.batcher import BatchPlanner

    batcher = BatchPlanner(data, settings.loop.batch_tokens, settings.loop.seed, packing=plan.shape.is_packed)
    return plan.seconds(batcher.positions_per_epoch, measure_rates())


def _lines(plan: TunePlan, epoch_s: float | None) -> list[tuple[str, str]]:
    shape = plan.shape
    packed = ", packed" if shape.is_packed else ""
    lines = [
        ("weights", format_bytes(plan.weights_bytes)),
        ("trained", f"{plan.trainable_count:,} parameters, {format_bytes(plan.trainable_bytes)}"),
        ("optimizer", format_bytes(plan.optimizer_bytes)),
        (
            "a step",
            f"{format_bytes(plan.activations_bytes)} for {shape.lanes} x {shape.length} tokens{packed}",
        ),
        ("peak", f"{format_bytes(plan.peak_bytes)} of {format_bytes(plan.budget_bytes)} safe to use"),
        ("verdict", plan.verdict),
    ]
    if epoch_s is not None:
        lines.append(("one epoch", f"about {format_seconds(epoch_s)}; the first steps of a run measure it"))
    return lines


def _proposal_text(plan: TunePlan | None) -> str:
    if plan is None:
        return "nothing that was tried: convert it to fewer bits, or train a smaller model"
    loop, method = plan.settings.loop, plan.settings.method
    checkpoint = " --grad-checkpoint" if loop.grad_checkpoint else ""
    rank = "" if method.method == "full" else f" --rank {method.rank}"
    return f"--batch-tokens {loop.batch_tokens}{checkpoint}{rank}, with a peak of {format_bytes(plan.peak_bytes)}"


def _json(plan: TunePlan | None) -> dict[str, Any] | None:
    if plan is None:
        return None
    import dataclasses

    facts = dataclasses.asdict(plan)
    return {**facts, "settings": plan.settings.flat(), "activations_bytes": plan.activations_bytes}
