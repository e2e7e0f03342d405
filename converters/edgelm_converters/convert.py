"""`edgelm convert`: a source in, a standard MLX-LM directory out, whole or not at all.

open source → sanitize names → decide → plan → check → try the tokenizer → write, one module at a time
→ verify → rename
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any, Unpack

import mlx.core as mx

from edgelm import device as devices
from edgelm import log, paths
from edgelm.atomic import atomic_directory, disk_errors
from edgelm.errors import FitError, OptionError, UnsupportedError
from edgelm.evaluate.receipt import QualityReceipt
from edgelm.library.manifest import Manifest
from edgelm.library.names import place
from edgelm.machine.long_job import long_job
from edgelm.machine.open_files import raise_open_files
from edgelm.options import check_callable, check_names, check_type
from edgelm.progress import OnProgress, Progress, ignore_progress
from edgelm.quant.apply import Decision
from edgelm.quant.layers.sensitivity import movable_layers
from edgelm.zoo.configs.normalise import normalise_config
from edgelm.zoo.guards import mlx_lm_errors
from edgelm_converters.conversion import Conversion, is_narrow
from edgelm_converters.estimate import Estimate, OnEstimate, later_steps
from edgelm_converters.methods.budget.as_stored import AsStored
from edgelm_converters.methods.budget.choose import (
    budget_bytes,
    decide_by_budget,
    decide_without_measuring,
    refuse_impossible,
)
from edgelm_converters.methods.budget.sensitivities import sensitivities
from edgelm_converters.methods.calibration.run import Calibrated, read_text, run_calibration
from edgelm_converters.methods.distill import with_trained
from edgelm_converters.pipeline.check import check_disk, check_size
from edgelm_converters.pipeline.decide import choose_dtypes, decide_layers
from edgelm_converters.pipeline.job import ConversionJob, Packed
from edgelm_converters.pipeline.sanitize import grouped
from edgelm_converters.pipeline.settle import settled
from edgelm_converters.result.conversion_receipt import (
    ConversionReceipt,
    describe_tensors,
    hash_files,
    peak_memory_bytes,
)
from edgelm_converters.result.existing import recorded, refuse_there
from edgelm_converters.result.loss import layer_losses, measure_loss
from edgelm_converters.result.naming import library_name
from edgelm_converters.result.verify import LogitsComparison, RoundTrip, check_tokenizer, compare
from edgelm_converters.sources.checkpoint import SourceCheckpoint, wide_notes
from edgelm_converters.sources.huggingface.tokenizer_files import built_note
from edgelm_converters.sources.recognise import open_checkpoint
from edgelm_converters.stopwatch import Stopwatch
from edgelm_converters.targets.mlx.config_files import converted_config, write_configs
from edgelm_converters.targets.mlx.plan import OutputPlan, make_plan
from edgelm_converters.targets.mlx.weights import Quantizer, search_scales, write_weights
from edgelm_converters.typed_settings import ConversionSettings
from edgelm_converters.weights.packed import unpacked

REUSED_BYTES = 512 << 20


@dataclass(frozen=True)
class Converted:
    """A finished conversion."""

    directory: Path
    manifest: Manifest


def convert(
    source: str | Path,
    output: str | Path | None = None,
    *,
    name: str | None = None,
    force: bool = False,
    revision: str | None = None,
    on_progress: OnProgress = ignore_progress,
    on_estimate: OnEstimate = lambda _: None,
    **settings: Unpack[ConversionSettings],
) -> Converted:
    """Convert published weights into a quantized MLX model.

    Args:
        source: a Hub id, a Hugging Face, PyTorch or Meta directory, a GGUF file, or the name of an
            installed model package ("smollm2").
        output: the directory to make; by default one in the library.
        name: what to call it in the library; by default after the source, its width and its quality.
        force: replace a model of edgelm's that is there already, once the new one is whole.
        revision: a Hub branch, tag or commit.
        on_progress: called with `Progress` as bytes are downloaded, layers calibrated and bytes written.
        on_estimate: called with what calibrating, or measuring sensitivities, will take, before it starts.
        settings: the fields of `Conversion`.

    Raises:
        NotFoundError, FormatError, UnsafeError, UnsupportedError, NetworkError: about the source.
        OutputError: the output exists, the disk is too small, or the result is larger than asked for.
        OptionError: a setting is out of bounds, or the calibration text is too short; a name that is none.
        FitError: calibrating does not fit in memory, even a layer at a time.
    """
    check_names(settings, Conversion.__dataclass_fields__)
    check_type("source", source, str, Path, wanted="a Hub id, a name or a path")
    check_type("output", output, str, Path, NoneType, wanted="a path")
    check_type("revision", revision, str, NoneType)
    check_callable("on_progress", on_progress)
    check_callable("on_estimate", on_estimate)
    watch = Stopwatch()
    raise_open_files()
    wanted = Conversion(**settings)
    said = None if name is None and output is None else place(paths.models(), name=name, output=output)
    if said is not None:
        refuse_there(said, force=force)
    with watch.step("opening the source"):
        checkpoint = open_checkpoint(str(source), revision=revision, on_progress=on_progress)
        checkpoint, config, notes = settled(checkpoint, normalise_config(checkpoint.config))
    notes += wide_notes(checkpoint)
    target = said or place(paths.models(), default=library_name(checkpoint, config, wanted))
    refuse_there(target, force=force, wanted=wanted, origin=checkpoint.origin)
    with _buffer_cache(devices.current_pace().reused_bytes), long_job("the conversion", "a lower --quality"):
        return _convert(
            checkpoint, config, notes, wanted, target, on_progress, on_estimate, watch, force=force
        )


@contextmanager
def _buffer_cache(size_bytes: int) -> Iterator[None]:
    """Let MLX keep `size_bytes` of freed buffers: none where each is used once, some where work repeats."""
    before = mx.set_cache_limit(size_bytes)
    try:
        yield
    finally:
        mx.set_cache_limit(before)


def _reused_bytes(job: ConversionJob) -> int:
    return devices.current_pace().reused_bytes if job.wanted.chosen_quality == "rtn" else REUSED_BYTES


def _convert(
    checkpoint: SourceCheckpoint, config: dict[str, Any], notes: list[str], wanted: Conversion, target: Path,
    on_progress: OnProgress, on_estimate: OnEstimate, watch: Stopwatch, *, force: bool,
) -> Converted:  # fmt: skip
    with atomic_directory(target, replace=force) as directory, ThreadPoolExecutor(1) as pool:
        hashes = pool.submit(hash_files, checkpoint.origin.files)
        job = ConversionJob(
            checkpoint, config, wanted, directory, hashes, on_progress, on_estimate, notes, watch=watch
        )
        job.stage.mkdir()
        with disk_errors(directory):
            checkpoint.write_tokenizer(directory)
            built = built_note(checkpoint.origin.files[0].parent, directory)
            job.notes.extend([built] if built else [])
        decision, plan = plan_of(job)
        if wanted.has_budget:
            job, decision, plan = _plan_budget(job, decision, plan)
        if not (wanted.allow_mixed or wanted.has_budget):
            check_size(plan, decision)
        check_disk(plan, target)
        # Before the weights: a tokenizer that does not load is no news to give after an hour's work.
        final = converted_config(config, plan, sorted(decision.left))
        write_configs(final, checkpoint.generation_config, directory)
        text = check_tokenizer(directory, final, checkpoint.origin.source)
        job, quantizer, calibrated = _quantizer_or_rounding(job.settled(plan), plan, target)
        if unused := wanted.unused(calibrated=calibrated is not None):
            job.notes.append(f"nothing is calibrated, so {' and '.join(unused)} changed nothing")
            log.logger.warning("%s", job.notes[-1])
        if calibrated is not None and calibrated.distilled is not None:
            plan = with_trained(plan, calibrated.files)
        with _buffer_cache(_reused_bytes(job)):
            with watch.step("writing"):
                weights = write_weights(plan, directory, on_progress, quantizer)
            receipt = _receipt(job, plan, decision, final, text, peak_memory_bytes(), calibrated)
        shutil.rmtree(job.stage)
        manifest = _manifest(job, plan, weights, receipt)
        with disk_errors(directory):
            manifest.write(directory)
    if calibrated is not None:
        calibrated.files.remove()
    return Converted(target, manifest)


def _quantizer_or_rounding(
    job: ConversionJob, plan: OutputPlan, target: Path
) -> tuple[ConversionJob, Quantizer | None, Calibrated | None]:
    """`_quantizer`; rounding to nearest where calibration fails that nobody asked for. The job as it then is first."""
    try:
        with _buffer_cache(_reused_bytes(job)):
            return (job, *_quantizer(job, plan, target))
    except (UnsupportedError, FitError) as error:
        if not job.wanted.is_left_to_us:
            raise
        return job.rounding(str(error)), None, None


def _quantizer(
    job: ConversionJob, plan: OutputPlan, target: Path
) -> tuple[Quantizer | None, Calibrated | None]:
    """What makes the packed parameters, and what calibration came before it."""
    wanted, quality = job.wanted, job.wanted.chosen_quality
    if not plan.quantize:
        if quality != "rtn" and wanted.asks_for_quality:
            raise OptionError(
                f"quality {quality} has nothing to choose: the weights stay as they are",
                hint="ask for --bits, to quantize weights anew that arrive quantized",
            )
        return None, None
    if not wanted.is_calibrated:
        _announce_loss(job, plan)
        return (search_scales if quality == "fast" else None), None
    text = read_text(wanted, job.directory, job.config)
    with job.watch.step("calibrating"):
        made = run_calibration(job, plan, text, target)
    return (lambda _, path: made.files.packed(path)), made


def _announce_loss(job: ConversionJob, plan: OutputPlan) -> None:
    """Announce what measuring the loss will take where no calibration, which announces it, comes before."""
    if not job.wanted.measured_tokens:
        return
    later = later_steps(plan, job.config, job.wanted.measured_tokens)
    job.on_estimate(Estimate(later.pop("measuring the loss"), 0, 0, 0, "measuring the loss", later))


def _plan_budget(
    job: ConversionJob, decision: Decision, plan: OutputPlan
) -> tuple[ConversionJob, Decision, OutputPlan]:
    """The plan with widths chosen to spend the budget where it lowers the divergence most.

    What the source holds quantized already is among the choices. A budget that holds every tensor so, or at the widest,
    is spent at once, and rounds to nearest unless a quality was asked for: as the default does without a budget at such
    widths.
    """
    network = job.network()
    budget = budget_bytes(job.wanted, plan, network, job.config)
    movable = list(movable_layers(network, decision.layers))
    stored = _as_stored(job)
    refuse_impossible(plan, movable, budget, job.wanted, stored)
    found = decide_without_measuring(decision, plan, movable, budget, stored)
    if found is None:
        with _buffer_cache(REUSED_BYTES), job.watch.step("measuring sensitivity"):
            measured, tied = sensitivities(job, plan, movable)
        found = decide_by_budget(decision, plan, budget, measured, tied, stored)
        return job, *plan_of(job, found[0], stored.kept(found[1]) if stored else None)
    decision, plan = plan_of(job, found[0], stored.kept(found[1]) if stored else None)
    return _rounding_where_wide(job, plan), decision, plan


def _rounding_where_wide(job: ConversionJob, plan: OutputPlan) -> ConversionJob:
    """`job` for a `plan` that nothing was measured for: few bits are calibrated, others rounded, nothing if so asked."""
    if not plan.quantize:
        job.notes.append("the budget holds the source's weights as they are: nothing is quantized anew")
        return replace(job, wanted=job.wanted.rounding())
    if job.wanted.asks_for_quality or any(map(is_narrow, plan.quantize.values())):
        return job
    return job.rounding("the budget holds every tensor at the widest")


def _as_stored(job: ConversionJob) -> AsStored | None:
    """What no options give, where the source is quantized and may stay so."""
    if not job.wanted.may_keep_packed:
        return None
    decision, plan = plan_of(replace(job, wanted=job.wanted.without_budget()))
    return AsStored(decision, plan) if plan.packed or job.checkpoint.requantized else None


def plan_of(
    job: ConversionJob, decision: Decision | None = None, kept: Packed | None = None
) -> tuple[Decision, OutputPlan]:
    """How every layer is quantized, and what is written.

    Args:
        decision: made already; None makes it.
        kept: the packed modules that stay so; None is all of them, or none where something else was asked for.
    """
    network = job.network()
    inputs, held = job.inputs(network)
    if kept is None:
        kept = held if job.wanted.keeps_packed else {}
    anew = {path: settings for path, settings in held.items() if path not in kept}
    if anew:
        inputs = unpacked(inputs, anew)
    decision = decision or decide_layers(network, job.checkpoint, job.wanted, kept)
    dtypes = choose_dtypes(job.checkpoint, job.wanted, held if job.wanted.may_keep_packed else kept, decision)
    return decision, make_plan(network, inputs, kept, decision, dtypes)


def _receipt(
    job: ConversionJob, plan: OutputPlan, decision: Decision, config: dict[str, Any], text: tuple[RoundTrip, list[int]],
    peak_bytes: int, calibrated: Calibrated | None,
) -> ConversionReceipt:  # fmt: skip
    round_trip, ids = text
    quality = _quality(job, plan, decision, config, peak_bytes, calibrated)
    comparison: LogitsComparison | None = None
    skipped: str | None = None
    if quality is not None:
        comparison = LogitsComparison(quality.tokens, quality.mean_kl.value, quality.top1_agreement.value)
    elif job.wanted.verify:
        job.on_progress(Progress("Comparing with the source", 0, None, "steps"))
        network, inputs, held = job.fresh()
        source = job.checkpoint.origin.source
        with mlx_lm_errors(job.directory, shown=source), job.watch.step("comparing with the source"):
            comparison = compare(network, unpacked(inputs, held), job.directory, config, ids)
        job.on_progress(Progress("Comparing with the source", 1, 1, "steps"))
    else:
        skipped = "not asked for"
    with job.watch.step("hashing the source"):
        job.source_hashes.result()
    return ConversionReceipt(
        elapsed_s=round(job.watch.elapsed_s, 2),
        peak_memory_bytes=peak_bytes,
        parameters=plan.parameters,
        tensors=describe_tensors(job.checkpoint, plan, decision),
        regrouped=decision.regrouped,
        left_unquantized=decision.left,
        tokenizer=round_trip,
        comparison=comparison,
        skipped=skipped,
        calibration=calibrated.as_json() if calibrated is not None else None,
        quality=quality.as_json() if quality is not None else None,
        rounded_because=job.rounded_because,
        dropped=grouped(job.dropped),
        notes=job.notes,
        steps_s=job.watch.steps(),
    )


def _quality(
    job: ConversionJob, plan: OutputPlan, decision: Decision, config: dict[str, Any], peak_bytes: int,
    calibrated: Calibrated | None,
) -> QualityReceipt | None:  # fmt: skip
    """What was lost, on held-out text; None where it was not to be measured, or nothing was quantized."""
    tokens, quality = job.wanted.measured_tokens, job.wanted.chosen_quality
    if not tokens or not plan.quantize:
        return None
    with job.watch.step("measuring the loss"):
        loss = measure_loss(
            job.fresh,
            plan,
            job.directory,
            config,
            tokens,
            rounds=quality == "rtn",
            on_progress=job.on_progress,
        )
    said = calibrated.as_json() if calibrated is not None else {}
    outcomes = calibrated.outcomes if calibrated is not None else []
    return loss.receipt(
        plan,
        quality,
        layer_losses(plan, quality, outcomes, decision.expected_kl),
        said,
        (job.watch.elapsed_s, peak_bytes),
    )


def _manifest(
    job: ConversionJob, plan: OutputPlan, weights: dict[str, str], receipt: ConversionReceipt
) -> Manifest:
    origin, wanted, source_hashes = job.checkpoint.origin, job.wanted, job.source_hashes.result()
    is_uniform = wanted.recipe is None and not wanted.has_budget
    asked = wanted.scheme().settings if plan.quantize and is_uniform and not plan.packed else {}
    quality = wanted.chosen_quality if plan.quantize else None
    recipe = {"name": wanted.recipe, **asked, "dtype": wanted.dtype, "quality": quality}
    recipe |= recorded(wanted)
    return Manifest(
        source=origin.source,
        kind=origin.kind,
        revision=origin.revision,
        source_sha256=source_hashes,
        weights_sha256=weights,
        licence=origin.licence,
        recipe={key: value for key, value in recipe.items() if value is not None},
        bits_per_weight=round(plan.bits_per_weight, 3),
        size_bytes=plan.size_bytes,
        receipt=receipt.as_json(),
        parents=[{"source": origin.source, "sha256": source_hashes, "licence": origin.licence}],
    )
