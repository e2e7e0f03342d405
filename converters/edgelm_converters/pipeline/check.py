"""What stops a conversion before it starts writing: too little disk, or a result larger than asked for."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import mlx.core as mx

from edgelm.errors import OutputError
from edgelm.quant.apply import Decision
from edgelm.quant.scheme import settings_bits_per_weight
from edgelm.units import format_bytes
from edgelm_converters.targets.mlx.plan import OutputPlan

MAX_EXCESS_BITS = 0.3
"""How far above the bits per weight that were asked for a result may come out."""

DISK_MARGIN_BYTES = 64 << 20
"""For the tokenizer and configs."""


def check_disk(plan: OutputPlan, target: Path) -> None:
    """Raise OutputError if the disk of `target` has no room for the result."""
    existing = next(parent for parent in target.absolute().parents if parent.exists())
    free = shutil.disk_usage(existing).free
    needed = plan.size_bytes + DISK_MARGIN_BYTES
    if free < needed:
        raise OutputError(
            f"{target} would take {format_bytes(needed)}, and its disk has {format_bytes(free)} free",
            hint="free some space, or name an output on another disk with -o",
        )


def check_size(plan: OutputPlan, decision: Decision) -> None:
    """Raise OutputError if quantization could not do what was asked, naming the layers that kept it from it."""
    if not decision.asked:
        return
    asked = _asked_bits(plan, decision)
    if plan.bits_per_weight <= asked + MAX_EXCESS_BITS:
        return
    raise OutputError(
        f"the result would take {plan.bits_per_weight:.2f} bits per weight, {asked:.2f} were asked for:"
        f" {_culprits(plan, decision)}",
        hint="choose a smaller --group-size, or accept it with --allow-mixed",
    )


def _asked_bits(plan: OutputPlan, decision: Decision) -> float:
    """Bits per weight over the layers that can be quantized, as if every one got what was asked."""
    sizes = {path: math.prod(plan.inputs[f"{path}.weight"].shape) for path in decision.asked}
    scale_bits = 8 * max(
        (dtype.size for name, (_, dtype) in plan.layout.items() if mx.issubdtype(dtype, mx.floating)),
        default=2,
    )
    bits = sum(sizes[path] * settings_bits_per_weight(decision.asked[path], scale_bits) for path in sizes)
    return bits / sum(sizes.values())


def _culprits(plan: OutputPlan, decision: Decision) -> str:
    """The unquantized weights, largest first."""
    culprits = [f"{path} (rows of {width} fit no group)" for path, width in decision.left.items()]
    done = {f"{path}.weight" for path in (*plan.quantize, *plan.packed, *decision.left)}
    rest = [name for name, tensor in plan.inputs.items() if name not in done and len(tensor.shape) > 1]
    rest.sort(key=lambda name: -plan.inputs[name].nbytes)
    culprits += [f"{name} (not quantizable)" for name in rest]
    culprits += [f"{path} (group {size})" for path, size in decision.regrouped.items()]
    if not culprits:
        return "the model is so small that its norms and biases weigh"
    return ", ".join(culprits[:8]) + (f" and {len(culprits) - 8} more" if len(culprits) > 8 else "")
