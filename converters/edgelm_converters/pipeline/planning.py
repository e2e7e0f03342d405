"""Planning a job: how every layer is quantized and what will be written, with a budget or without one."""

from __future__ import annotations

from dataclasses import replace

from edgelm.quant.apply import Decision
from edgelm.quant.layers.sensitivity import movable_layers
from edgelm_converters.conversion import is_narrow
from edgelm_converters.methods.budget.amount import ByteBudget
from edgelm_converters.methods.budget.as_stored import AsStored
from edgelm_converters.methods.budget.choose import (
    decide_by_budget,
    decide_without_measuring,
    refuse_impossible,
)
from edgelm_converters.methods.budget.sensitivities import sensitivities
from edgelm_converters.pipeline.buffers import REUSED_BYTES, buffer_cache
from edgelm_converters.pipeline.decide import choose_dtypes, decide_layers
from edgelm_converters.pipeline.job import ConversionJob, PackedModules
from edgelm_converters.targets.mlx.plan import OutputPlan, make_plan
from edgelm_converters.weights.packed import unpacked


def plan_of(
    job: ConversionJob, decision: Decision | None = None, kept: PackedModules | None = None
) -> tuple[Decision, OutputPlan]:
    """Decide how every layer is quantized, and work out what is written.

    Args:
        decision: an earlier decision to plan for; None makes one.
        kept: the packed modules that stay so; None is all of them, or none where something else was asked for.
    """
    network = job.network()
    inputs, held = job.inputs(network)
    if kept is None:
        kept = held if job.wanted.keeps_packed else {}
    anew = {path: settings for path, settings in held.items() if path not in kept}
    if anew:
        inputs = unpacked(inputs, anew)
    decision = decision or decide_layers(network, job.requantized, job.wanted, kept)
    packed = held if job.wanted.may_keep_packed else kept
    dtypes = choose_dtypes(job.checkpoint, job.wanted, packed, decision, inputs)
    return decision, make_plan(network, inputs, kept, decision, dtypes)


def plan_within_budget(
    job: ConversionJob, decision: Decision, plan: OutputPlan
) -> tuple[ConversionJob, Decision, OutputPlan]:
    """Choose widths that spend the budget where it lowers the divergence most.

    What the source holds quantized already is among the choices. A budget that holds every tensor so, or at the widest,
    is spent at once, and rounds to nearest unless a quality was asked for: as the default does without a budget at such
    widths.

    Returns:
        The job with the quality that its layers get, and `decision` and `plan` with the widths.
    """
    network, wanted = job.network(), job.wanted
    asked = ByteBudget(wanted.size, wanted.bpw, wanted.fit)
    budget = asked.in_bytes(plan, network, job.config)
    movable = list(movable_layers(network, decision.layers))
    stored = _as_stored(job)
    refuse_impossible(plan, movable, budget, asked, stored)
    chosen = decide_without_measuring(decision, plan, movable, budget, stored)
    is_measured = chosen is None
    if chosen is None:
        with buffer_cache(REUSED_BYTES), job.watch.step("measuring sensitivity"):
            measured = sensitivities(job.task(plan), wanted.method, movable)
        chosen = decide_by_budget(decision, plan, budget, measured.tensors, measured.tied, stored)
    decision, plan = plan_of(job, chosen[0], stored.kept(chosen[1]) if stored else None)
    return job if is_measured else _rounding_where_wide(job, plan), decision, plan


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
