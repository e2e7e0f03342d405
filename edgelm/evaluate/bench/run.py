"""Runs the cases that are asked for and puts the report together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from edgelm.device import Device
from edgelm.evaluate.bench import answers, batches, depths, speculation, turns
from edgelm.evaluate.bench.options import BenchOptions
from edgelm.evaluate.bench.report import BenchedModel, BenchReport, Case, Machine
from edgelm.evaluate.bench.rig import Rig
from edgelm.machine.long_job import long_job
from edgelm.progress import OnProgress, Progress, ignore_progress
from edgelm.runtime.assemble import Ready
from edgelm.zoo.weights.fingerprint import adapter_fingerprint, fingerprint

_Step = tuple[str, Callable[[], Iterable[Case]]]


@long_job("the benchmark", "--prompt-tokens with a smaller number")
def run_bench(
    ready: Ready,
    device: Device,
    options: BenchOptions,
    *,
    adapter: Path | None = None,
    on_progress: OnProgress = ignore_progress,
) -> BenchReport:
    """Measure a loaded model, on the thread that loaded it.

    Args:
        adapter: the one that is on it, to be named in the report.

    Raises:
        OptionError: a depth beyond the model's context.
        EngineError: MLX failed.
    """
    rig = Rig(ready, options)
    steps, skipped = _steps(rig)
    rig.generate(rig.tokens(min(8, options.prompt_tokens)), 2)  # kernels compiled, weights paged in
    cases: list[Case] = []
    for index, (name, measure) in enumerate(steps):
        on_progress(Progress("Measuring", index, len(steps), "steps", name))
        cases += measure()
        rig.engine.reset()
    on_progress(Progress("Measuring", len(steps), len(steps), "steps"))
    loaded = ready.loaded
    return BenchReport(
        machine=Machine.of(device),
        model=BenchedModel(
            name=loaded.name,
            fingerprint=fingerprint(loaded.directory),
            size_bytes=loaded.size_bytes,
            dtype=loaded.dtype,
            quantization=loaded.config.get("quantization"),
            adapter=adapter_fingerprint(adapter) if adapter else None,
        ),
        cases=tuple(cases),
        repeats=options.repeats,
        peer=options.compare,
        peak_memory_bytes=rig.peak_memory_bytes,
        skipped=(*skipped, *rig.skipped),
    )


def _steps(rig: Rig) -> tuple[list[_Step], list[str]]:
    """What is measured, and what cannot be on a model of this context."""
    options, context = rig.options, rig.ready.loaded.context_length
    steps: list[_Step] = []
    skipped: list[str] = []
    if "depths" in options.cases:
        at = options.depths_within(context)
        steps += [(f"depth {depth:,}", partial(depths.measure, rig, depth)) for depth in at]
    if "turn" in options.cases:
        history = turns.history_within(options.history_tokens, context)
        if history >= turns.SHORTEST_HISTORY:
            steps.append(("the next turn", partial(turns.measure, rig, history)))
        else:
            skipped.append(f"turn: the context of {context} tokens is too short")
    if "speculation" in options.cases:
        needed = speculation.longest_prompt(rig)
        if context is None or needed <= context:
            steps.append(("guessing ahead", partial(speculation.measure, rig)))
        else:
            skipped.append(f"speculation: needs {needed} tokens of context, the model has {context}")
    if "answers" in options.cases:
        needed = answers.longest_prompt(rig)
        if context is None or needed <= context:
            steps.append(("kinds of answers", partial(answers.measure, rig)))
        else:
            skipped.append(f"answers: needs {needed} tokens of context, the model has {context}")
    if "batch" in options.cases:
        steps.append(("many prompts", partial(batches.measure, rig)))
    return steps, skipped
