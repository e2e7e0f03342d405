"""`edgelm convert`: a source in, a standard MLX-LM directory out, whole or not at all.

open source → sanitize names → decide → plan → check → try the tokenizer → write, one module at a time
→ verify → rename
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Unpack

from edgelm import device as devices
from edgelm import log, paths
from edgelm.atomic import atomic_directory, disk_errors
from edgelm.errors import FitError, OptionError, UnsupportedError
from edgelm.library.manifest import Manifest
from edgelm.library.names import place
from edgelm.machine.garbage import uncollected
from edgelm.machine.long_job import long_job
from edgelm.machine.open_files import raise_open_files
from edgelm.options import check_callable, check_names, check_type
from edgelm.progress import OnProgress, ignore_progress
from edgelm.zoo.configs.normalise import normalise_config
from edgelm_converters.conversion import Conversion
from edgelm_converters.estimate import OnEstimate
from edgelm_converters.methods.quantized import Quantized
from edgelm_converters.methods.quantizers import round_to_nearest
from edgelm_converters.pipeline.buffers import REUSED_BYTES, buffer_cache
from edgelm_converters.pipeline.check import check_disk, check_size
from edgelm_converters.pipeline.hashing import hashing
from edgelm_converters.pipeline.job import ConversionJob
from edgelm_converters.pipeline.planning import plan_of, plan_within_budget
from edgelm_converters.pipeline.settle import settled
from edgelm_converters.pipeline.underflow import without_underflow
from edgelm_converters.result.conversion_receipt import peak_memory_bytes
from edgelm_converters.result.existing import refuse_there
from edgelm_converters.result.judge.ask import check_judge
from edgelm_converters.result.naming import library_name
from edgelm_converters.result.report import make_manifest, make_receipt
from edgelm_converters.result.verify import check_tokenizer
from edgelm_converters.sources.checkpoint import wide_notes
from edgelm_converters.sources.huggingface.tokenizer_files import built_note
from edgelm_converters.sources.recognise import open_checkpoint
from edgelm_converters.stopwatch import Stopwatch
from edgelm_converters.targets.mlx.config_files import converted_config, write_configs
from edgelm_converters.targets.mlx.plan import OutputPlan
from edgelm_converters.targets.mlx.weights import write_weights
from edgelm_converters.typed_settings import ConversionSettings


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
    named = None if name is None and output is None else place(paths.models(), name=name, output=output)
    if named is not None:
        refuse_there(named, force=force)
    with ExitStack() as stack:
        with watch.step("opening the source"), uncollected():
            checkpoint = open_checkpoint(str(source), revision=revision, on_progress=on_progress)
            # From here on: imports and the tokenizer leave a core idle.
            hashes = stack.enter_context(hashing(checkpoint.origin.files))
            if wanted.asks_judge:  # before an hour's work
                check_judge(checkpoint.origin.kind, checkpoint.config)
            checkpoint, config, notes = settled(checkpoint, normalise_config(checkpoint.config))
        notes += [*wide_notes(checkpoint), *checkpoint.notes]
        target = named or place(paths.models(), default=library_name(checkpoint, config, wanted))
        refuse_there(target, force=force, wanted=wanted, origin=checkpoint.origin)
        stack.enter_context(buffer_cache(devices.current_pace().reused_bytes))
        stack.enter_context(long_job("the conversion", "a lower --quality"))
        with atomic_directory(target, replace=force) as directory:
            manifest, quantized = _convert(
                ConversionJob(
                    checkpoint,
                    config,
                    wanted,
                    directory,
                    target,
                    hashes,
                    on_progress,
                    on_estimate,
                    notes,
                    watch=watch,
                )
            )
        if quantized.calibrated is not None:
            quantized.calibrated.files.remove()
    return Converted(target, manifest)


def _convert(job: ConversionJob) -> tuple[Manifest, Quantized]:
    """Fill the directory of `job`."""
    wanted, directory = job.wanted, job.directory
    _write_tokenizer(job)
    decision, plan = plan_of(job)
    changed = without_underflow(job, decision, plan)
    if changed is not None:
        decision, plan = plan_of(job, changed)
    if wanted.has_budget:
        job, decision, plan = plan_within_budget(job, decision, plan)
    elif not wanted.allow_mixed:
        check_size(plan, decision)
    check_disk(plan, job.target)
    # Before the weights: a tokenizer that does not load is no news to give after an hour's work.
    config = converted_config(job.config, plan, sorted(decision.left))
    write_configs(config, job.checkpoint.generation_config, directory)
    with uncollected():
        tokenizer = check_tokenizer(directory, config, job.checkpoint.origin.source)
    job, quantized = _quantize(job.settled(plan), plan)
    if unused := wanted.unused(calibrated=quantized.calibrated is not None):
        job.notes.append(f"nothing is calibrated, so {' and '.join(unused)} changed nothing")
        log.logger.warning("%s", job.notes[-1])
    with buffer_cache(_reused_bytes(job)):
        with job.watch.step("writing"):
            weights = write_weights(quantized.plan, directory, job.on_progress, quantized.quantizer)
        receipt = make_receipt(job, quantized, decision, config, tokenizer, peak_memory_bytes())
    shutil.rmtree(job.stage)
    manifest = make_manifest(job, quantized.plan, weights, receipt)
    with disk_errors(directory):
        manifest.write(directory)
    return manifest, quantized


def _write_tokenizer(job: ConversionJob) -> None:
    job.stage.mkdir()
    with disk_errors(job.directory):
        job.checkpoint.write_tokenizer(job.directory)
        note = built_note(job.checkpoint.origin.files[0].parent, job.directory)
        job.notes.extend([note] if note else [])


def _reused_bytes(job: ConversionJob) -> int:
    return devices.current_pace().reused_bytes if job.wanted.method.is_baseline else REUSED_BYTES


def _quantize(job: ConversionJob, plan: OutputPlan) -> tuple[ConversionJob, Quantized]:
    """Run the method, or have weights rounded where calibration fails that nobody asked for; first the job as it then is."""
    try:
        with buffer_cache(_reused_bytes(job)):
            return job, _run_method(job, plan)
    except (UnsupportedError, FitError) as error:
        if not job.wanted.is_left_to_us:
            raise
        return job.rounding(str(error)), Quantized(plan, round_to_nearest)


def _run_method(job: ConversionJob, plan: OutputPlan) -> Quantized:
    method = job.wanted.method
    if plan.quantize:
        return method.run(job.task(plan))
    if job.wanted.asks_for_quality and not method.is_baseline:
        raise OptionError(
            f"quality {method.name} has nothing to choose: the weights stay as they are",
            hint="ask for --bits, to quantize weights anew that arrive quantized",
        )
    return Quantized(plan, round_to_nearest)
