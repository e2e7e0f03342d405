"""What a finished conversion says of itself: measured against the source, then the receipt and the manifest."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from edgelm import log
from edgelm.errors import UnsupportedError
from edgelm.evaluate.receipt import QualityReceipt
from edgelm.library.manifest import Manifest
from edgelm.progress import Progress
from edgelm.quant.apply import Decision
from edgelm.zoo.fixes.apply import mended
from edgelm.zoo.guards import mlx_lm_errors
from edgelm.zoo.proofs.verdict import proof_of
from edgelm_converters.methods.quantized import Quantized
from edgelm_converters.pipeline.job import ConversionJob
from edgelm_converters.pipeline.sanitize import grouped
from edgelm_converters.result.conversion_receipt import ConversionReceipt, describe_tensors
from edgelm_converters.result.existing import recorded
from edgelm_converters.result.judge.ask import Judgement, ask, judged
from edgelm_converters.result.logits import LogitsComparison, compare_logits
from edgelm_converters.result.loss import measure_loss
from edgelm_converters.result.verify import TokenizerCheck, converted_logits, source_logits
from edgelm_converters.targets.mlx.plan import OutputPlan
from edgelm_converters.weights.packed import unpacked

_COMPARING = "Comparing with the source"
_ASKING = "Asking transformers"


def make_receipt(
    job: ConversionJob, quantized: Quantized, decision: Decision, config: dict[str, Any],
    tokenizer: TokenizerCheck, peak_bytes: int,
) -> ConversionReceipt:  # fmt: skip
    """Measure what was lost as far as that is wanted, and write down what became of everything.

    Args:
        config: the converted config.json.
        peak_bytes: peak resident size of the process before this.
    """
    plan, calibrated = quantized.plan, quantized.calibrated
    quality = _measured_quality(job, quantized, decision, config, peak_bytes)
    comparison, judgement = _compared(job, config, tokenizer, quality)
    with job.watch.step("hashing the source"):
        job.source_hashes.result()
    return ConversionReceipt(
        elapsed_s=round(job.watch.elapsed_s, 2),
        peak_memory_bytes=peak_bytes,
        parameters=plan.parameters,
        tensors=describe_tensors(job.checkpoint, plan, decision),
        regrouped=decision.regrouped,
        left_unquantized=decision.left,
        tokenizer=tokenizer.round_trip,
        comparison=comparison,
        skipped="not asked for" if comparison is None else None,
        judgement=judgement,
        proof=proof_of(job.checkpoint.config),
        calibration=calibrated.as_json() if calibrated is not None else None,
        quality=quality.as_json() if quality is not None else None,
        rounded_because=job.rounded_because,
        dropped=grouped(job.dropped),
        notes=[*job.notes, *_of_edgelm(job)],
        steps_s=job.watch.steps(),
    )


def _of_edgelm(job: ConversionJob) -> list[str]:
    """What of the model stock mlx-lm would compute otherwise than its config says, as a note."""
    found = mended(job.network())
    if not found:
        return []
    return [f"computed as the config says by edgelm, and otherwise by mlx-lm's own code: {', '.join(found)}"]


def _compared(
    job: ConversionJob, config: dict[str, Any], tokenizer: TokenizerCheck, quality: QualityReceipt | None
) -> tuple[LogitsComparison | None, Judgement | None]:
    """What quantization cost, by edgelm's reading of both, and what transformers computes of the source, if it is asked."""
    comparison = None
    if quality is not None:
        comparison = LogitsComparison(quality.tokens, quality.mean_kl.value, quality.top1_agreement.value)
    if not job.wanted.verify or (comparison is not None and not job.wanted.asks_judge):
        return comparison, None
    source, result = _both(job, config, tokenizer.ids)
    comparison = comparison or compare_logits(source, result)
    return comparison, _judged(job, tokenizer.ids, source, result) if job.wanted.asks_judge else None


def _both(job: ConversionJob, config: dict[str, Any], ids: list[int]) -> tuple[mx.array, mx.array]:
    """Logits of source and result on one short text."""
    job.on_progress(Progress(_COMPARING, 0, None, "steps"))
    network, inputs, held = job.fresh()
    source = job.checkpoint.origin.source
    with mlx_lm_errors(job.directory, shown=source), job.watch.step("comparing with the source"):
        logits = (
            source_logits(network, unpacked(inputs, held), ids),
            converted_logits(job.directory, config, ids),
        )
    job.on_progress(Progress(_COMPARING, 1, 1, "steps"))
    return logits


def _judged(job: ConversionJob, ids: list[int], source: mx.array, result: mx.array) -> Judgement | None:
    """Ask transformers; that it cannot read the source is a note, and no reason to lose the conversion."""
    job.on_progress(Progress(_ASKING, 0, None, "steps"))
    try:
        with job.watch.step("asking transformers"):
            logits, report = ask(job.checkpoint.origin, ids, job.stage / "judge")
    except UnsupportedError as error:
        job.notes.append(error.message)
        log.logger.warning("%s", error.message)
        return None
    job.on_progress(Progress(_ASKING, 1, 1, "steps"))
    return judged(logits, report, source, result)


def _measured_quality(
    job: ConversionJob, quantized: Quantized, decision: Decision, config: dict[str, Any], peak_bytes: int
) -> QualityReceipt | None:
    """What was lost, on held-out text; None where it was not to be measured, or nothing was quantized."""
    tokens, method, plan = job.wanted.measured_tokens, job.wanted.method, quantized.plan
    if not tokens or not plan.quantize:
        return None
    with job.watch.step("measuring the loss"):
        loss = measure_loss(
            job.fresh, plan, job.directory, config, tokens, rounds=method.is_baseline, on_progress=job.on_progress
        )  # fmt: skip
    return loss.receipt(
        plan, method, quantized.calibrated, decision.expected_kl,
        elapsed_s=job.watch.elapsed_s, peak_memory_bytes=peak_bytes,
    )  # fmt: skip


def make_manifest(
    job: ConversionJob, plan: OutputPlan, weights: dict[str, str], receipt: ConversionReceipt
) -> Manifest:
    """Write down where the model came from and how it was made.

    Args:
        weights: SHA-256 of each weight file by name.
    """
    origin, wanted, source_hashes = job.checkpoint.origin, job.wanted, job.source_hashes.result()
    is_uniform = wanted.recipe is None and not wanted.has_budget
    asked = wanted.scheme().settings if plan.quantize and is_uniform and not plan.packed else {}
    quality = wanted.method.name if plan.quantize else None
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
