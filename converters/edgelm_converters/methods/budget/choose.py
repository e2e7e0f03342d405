"""A number of bytes into a width for every tensor: what the widths of each cost, and the choice among them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgelm.errors import OptionError
from edgelm.quant.apply import Decision
from edgelm.quant.budget import WidthChoice, allocate
from edgelm.quant.layers.sensitivity import WIDTHS, Sensitivity, group_for
from edgelm.quant.scheme import settings_bits_per_weight
from edgelm.units import format_bytes
from edgelm_converters.methods.budget.amount import ByteBudget
from edgelm_converters.methods.budget.as_stored import AsStored
from edgelm_converters.targets.mlx.plan import OutputPlan, stored_bytes


def decide_by_budget(
    decision: Decision, plan: OutputPlan, budget: int, measured: Mapping[str, Sensitivity], tied: str | None,
    stored: AsStored | None = None,
) -> tuple[Decision, dict[str, WidthChoice]]:  # fmt: skip
    """Decide on a width and group for every tensor of `measured`, together within `budget` bytes; with the choices.

    Args:
        tied: the embedding that is also the head: never narrower than the body on average.
        stored: what the source holds; a tensor may stay as it is there.
    """
    choices = {path: _choices(plan, path, sensitivity, stored) for path, sensitivity in measured.items()}
    fixed = stored.fixed_bytes(list(measured)) if stored else _fixed_bytes(plan, list(measured))
    chosen = allocate(choices, budget - fixed)
    if tied in chosen:
        floor = math.floor(_mean_bits(choice for path, choice in chosen.items() if path != tied))
        if _bits(chosen[tied]) < floor:
            wide = [choice for choice in choices[tied] if _bits(choice) >= floor]
            if fixed + sum(min(c.size_bytes for c in o) for o in {**choices, tied: wide}.values()) <= budget:
                chosen = allocate({**choices, tied: wide}, budget - fixed)
    if stored is not None:
        return stored.decided(decision, chosen), chosen
    settings = {path: choice.settings for path, choice in chosen.items()}
    return _decided(decision, settings, {path: choice.loss for path, choice in chosen.items()}), chosen


def _mean_bits(choices: Iterable[WidthChoice]) -> float:
    bits = [_bits(choice) for choice in choices]
    return sum(bits) / max(1, len(bits))


def _bits(choice: WidthChoice) -> int:
    """Bits of a code; those of half precision where the tensor stays unquantized."""
    return int(choice.settings.get("bits", 16))


def decide_without_measuring(
    decision: Decision, plan: OutputPlan, movable: Sequence[str], budget: int, stored: AsStored | None = None
) -> tuple[Decision, dict[str, WidthChoice]] | None:
    """Decide on every tensor as it is stored or as wide as may be, with the choices, if `budget` holds that."""
    if stored is not None:
        chosen = stored.without_measuring(movable, lambda path: _offers(plan, path), budget)
        return None if chosen is None else (stored.decided(decision, chosen), chosen)
    widest = {path: max(_offers(plan, path), key=lambda offer: offer[1]) for path in movable}
    if _fixed_bytes(plan, movable) + sum(size for _, size in widest.values()) > budget:
        return None
    return _decided(decision, {path: settings for path, (settings, _) in widest.items()}, {}), {}


def _decided(decision: Decision, settings: Mapping[str, Any], expected_kl: dict[str, float]) -> Decision:
    layers = {**decision.layers, **settings}
    return dataclasses.replace(
        decision, layers=layers, asked=dict(layers), regrouped={}, expected_kl=expected_kl
    )


def refuse_impossible(
    plan: OutputPlan, movable: Sequence[str], budget: int, asked: ByteBudget, stored: AsStored | None = None
) -> None:
    """Refuse a `budget` in bytes that even the fewest bits exceed, from shapes alone.

    Raises:
        OptionError: it does; the message says what the smallest possible is.
    """
    smallest = (min(size for _, size in _offers(plan, path)) for path in movable)
    least = (stored.fixed_bytes(movable) if stored else _fixed_bytes(plan, movable)) + sum(smallest)
    if least > budget:
        raise OptionError(
            f"the budget is {format_bytes(budget)} ({budget * 8 / plan.parameters:.2f} bits per weight), and the"
            f" smallest possible is {format_bytes(least)} ({least * 8 / plan.parameters:.2f})",
            hint=asked.larger(least, plan.parameters),
        )


def _offers(plan: OutputPlan, path: str) -> list[tuple[dict[str, Any], int]]:
    """The settings that the rows of a tensor allow, and the bytes that each takes."""
    shape = plan.inputs[f"{path}.weight"].shape
    scale_bits = 8 * plan.dtypes[f"{path}.weight"].size
    offered = []
    for bits, group in WIDTHS:
        if shape[-1] % group == 0:
            settings = {"group_size": group, "bits": bits, "mode": "affine"}
            size = math.ceil(math.prod(shape) * settings_bits_per_weight(settings, scale_bits) / 8)
            offered.append((settings, size))
    return offered


def _choices(
    plan: OutputPlan, path: str, sensitivity: Sensitivity, stored: AsStored | None
) -> list[WidthChoice]:
    measured_group = group_for(plan.inputs[f"{path}.weight"].shape[-1])

    def expected(settings: dict[str, Any]) -> float:
        return sensitivity.expected_kl(settings["bits"], settings["group_size"], measured_group)

    def expected_of_stored(settings: dict[str, Any]) -> float:
        # In groups of 32, which few widths are measured in; of 64 they would lose a little more.
        offered = (option for option, _ in _offers(plan, path) if option["bits"] == settings["bits"])
        return min((expected(option) for option in offered), default=0.0)

    choices = [WidthChoice(settings, size, expected(settings)) for settings, size in _offers(plan, path)]
    return choices if stored is None else [*choices, stored.choice(path, expected_of_stored)]


def _fixed_bytes(plan: OutputPlan, movable: Sequence[str]) -> int:
    """Bytes of everything that a budget has no choice about."""
    return plan.size_bytes - sum(stored_bytes(plan, path) for path in movable)
