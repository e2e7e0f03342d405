"""`edgelm convert`: a source in, a standard MLX-LM directory out, whole or not at all.

open source → sanitize names → decide → plan → check → try the tokenizer → write, one module at a time
→ verify → rename
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from edgelm import paths
from edgelm.atomic import atomic_directory, disk_errors, refuse_existing
from edgelm.model.config import normalise_config
from edgelm.model.manifest import Manifest
from edgelm.model.network import build_network, mlx_lm_errors
from edgelm.progress import OnProgress, Progress, ignore_progress
from edgelm.quant.apply import Decision
from edgelm_converters.checkpoint import Checkpoint, LazyTensor
from edgelm_converters.conversion import Conversion
from edgelm_converters.decisions import choose_dtypes, decide_layers, usual_dtype
from edgelm_converters.limits import check_disk, check_size
from edgelm_converters.model_files import converted_config, dtype_name, prevailing, write_configs
from edgelm_converters.naming import output_name
from edgelm_converters.packed import imported, unpacked
from edgelm_converters.plan import Plan, make_plan
from edgelm_converters.receipt import Receipt, describe_tensors, hash_files, peak_memory_bytes
from edgelm_converters.recognise import open_checkpoint
from edgelm_converters.sanitize import sanitized
from edgelm_converters.verify import Comparison, RoundTrip, check_tokenizer, compare
from edgelm_converters.write import write_weights

Packed = Mapping[str, dict[str, Any]]


@dataclass(frozen=True)
class Converted:
    """A finished conversion."""

    directory: Path
    manifest: Manifest


@dataclass(frozen=True)
class Job:
    """One conversion under way."""

    checkpoint: Checkpoint
    config: dict[str, Any]
    """Normalised."""
    wanted: Conversion
    stage: Path
    """For tensors that must be copied before they can be computed with."""

    def network(self) -> Any:
        """A fresh unquantized network; costs no memory until it is evaluated."""
        return build_network(self.config, self.checkpoint.origin.files[0].parent)

    def inputs(self, network: Any) -> tuple[Mapping[str, LazyTensor], Packed]:
        """The source's tensors under the names of `network`, and the modules that are packed in it.

        `network` must be fresh: some architectures' `sanitize` changes it (drops an unused head).
        """
        foreign = "quantization_config" in self.config and "quantization" not in self.config
        if foreign and self.checkpoint.origin.kind == "huggingface":
            return imported(self.checkpoint.origin.files[0].parent, self.config)
        # An architecture stacks experts by name: one that is missing, or of another shape, fails in there.
        with mlx_lm_errors(self.stage, shown=self.checkpoint.origin.source):
            return sanitized(network, self.checkpoint.tensors, self.stage), self.checkpoint.quantization


def convert(
    source: str | Path,
    output: str | Path | None = None,
    *,
    revision: str | None = None,
    on_progress: OnProgress = ignore_progress,
    **settings: Any,
) -> Converted:
    """Convert published weights into a quantized MLX model.

    Args:
        source: a Hub id, a Hugging Face, PyTorch or Meta directory, a GGUF file, or the name of an
            installed model package ("smollm2").
        output: the directory to make; by default one in the library, named after the source.
        revision: a Hub branch, tag or commit.
        on_progress: called with `Progress` as bytes are downloaded and written.
        settings: the fields of `Conversion`.

    Raises:
        NotFoundError, FormatError, UnsafeError, UnsupportedError, NetworkError: about the source.
        OutputError: the output exists, the disk is too small, or the result is larger than asked for.
        OptionError: a setting is out of bounds.
    """
    wanted = Conversion(**settings)
    if output is not None:
        refuse_existing(Path(output))
    checkpoint = open_checkpoint(str(source), revision=revision, on_progress=on_progress)
    config = normalise_config(checkpoint.config)
    with _no_buffer_cache():
        return _convert(checkpoint, config, wanted, Path(output) if output is not None else None, on_progress)


@contextmanager
def _no_buffer_cache() -> Iterator[None]:
    """Give freed buffers back at once: here the bar is memory, not reuse."""
    before = mx.set_cache_limit(0)
    try:
        yield
    finally:
        mx.set_cache_limit(before)


def _convert(
    checkpoint: Checkpoint,
    config: dict[str, Any],
    wanted: Conversion,
    output: Path | None,
    on_progress: OnProgress,
) -> Converted:
    started = time.monotonic()
    target = output or paths.models() / _library_name(checkpoint, config, wanted)
    with atomic_directory(target) as directory, ThreadPoolExecutor(1) as pool:
        source_hashes = pool.submit(hash_files, checkpoint.origin.files)
        job = Job(checkpoint, config, wanted, directory / ".stage")
        job.stage.mkdir()
        with disk_errors(directory):
            checkpoint.write_tokenizer(directory)
        decision, plan = _plan(job)
        if not wanted.allow_mixed:
            check_size(plan, decision)
        check_disk(plan, target)
        final = converted_config(config, plan, sorted(decision.left))
        write_configs(final, checkpoint.generation_config, directory)
        # Before the weights: a tokenizer that does not load is no news to give after an hour's work.
        text = check_tokenizer(directory, final, checkpoint.origin.source)
        weights = write_weights(plan, directory, on_progress)
        cost = time.monotonic() - started, peak_memory_bytes()
        receipt = _receipt(job, plan, decision, directory, final, text, cost, on_progress)
        shutil.rmtree(job.stage)
        manifest = _manifest(job, plan, weights, source_hashes.result(), receipt)
        with disk_errors(directory):
            manifest.write(directory)
    return Converted(target, manifest)


def _library_name(checkpoint: Checkpoint, config: dict[str, Any], wanted: Conversion) -> str:
    """Named before anything is written, so from what was asked rather than from the result."""
    said: dict[str, Any] = {"torch_dtype": dtype_name(usual_dtype(checkpoint, wanted))}
    stored = {**checkpoint.quantization, **checkpoint.requantized}
    foreign = config.get("quantization_config")
    if stored and wanted.keeps_packed:
        said["quantization"] = prevailing(stored)
    elif isinstance(foreign, dict) and "bits" in foreign and wanted.keeps_packed:
        said["quantization"] = foreign
    elif wanted.mode != "none":
        said["quantization"] = {**wanted.scheme().settings}
    name = output_name(checkpoint.origin, said)
    return f"{name.rpartition('-')[0]}-{wanted.recipe.replace('_', '-')}" if wanted.recipe else name


def _plan(job: Job) -> tuple[Decision, Plan]:
    network = job.network()
    inputs, held = job.inputs(network)
    kept = held if job.wanted.keeps_packed else {}
    if held and not job.wanted.keeps_packed:
        inputs = unpacked(inputs, held)
    decision = decide_layers(network, job.checkpoint, job.wanted, kept)
    dtypes = choose_dtypes(job.checkpoint, job.wanted, kept, decision)
    return decision, make_plan(network, inputs, kept, decision, dtypes)


def _receipt(
    job: Job, plan: Plan, decision: Decision, directory: Path, config: dict[str, Any],
    text: tuple[RoundTrip, list[int]], cost: tuple[float, int], on_progress: OnProgress,
) -> Receipt:  # fmt: skip
    round_trip, ids = text
    comparison: Comparison | None = None
    skipped: str | None = None
    if job.wanted.verify:
        on_progress(Progress("Comparing with the source", 0, None, "steps"))
        network = job.network()
        inputs, held = job.inputs(network)
        with mlx_lm_errors(directory, shown=job.checkpoint.origin.source):
            comparison = compare(network, unpacked(inputs, held), directory, config, ids)
        on_progress(Progress("Comparing with the source", 1, 1, "steps"))
    else:
        skipped = "not asked for"
    return Receipt(
        elapsed_s=round(cost[0], 2),
        peak_memory_bytes=cost[1],
        parameters=plan.parameters,
        tensors=describe_tensors(job.checkpoint, plan, decision),
        regrouped=decision.regrouped,
        left_unquantized=decision.left,
        tokenizer=round_trip,
        comparison=comparison,
        skipped=skipped,
    )


def _manifest(
    job: Job, plan: Plan, weights: dict[str, str], source_hashes: dict[str, str], receipt: Receipt
) -> Manifest:
    origin, wanted = job.checkpoint.origin, job.wanted
    asked = wanted.scheme().settings if plan.quantize and wanted.recipe is None and not plan.packed else {}
    recipe = {"name": wanted.recipe, **asked, "dtype": wanted.dtype}
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
        parents=[{"source": origin.source, "sha256": source_hashes}],
    )
