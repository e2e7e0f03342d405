"""A byte budget into a width for every tensor: what is asked for, what tensors cost, and the choice.

The budget is `--size` (of the weight files), `--bpw` (average over all parameters) or `--fit` (what a Mac can hold
beside its cache).
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgelm import device as devices
from edgelm.errors import OptionError
from edgelm.pricing.fit import price
from edgelm.quant.apply import Decision
from edgelm.quant.budget import WidthChoice, allocate
from edgelm.quant.layers.sensitivity import WIDTHS, Sensitivity, group_for
from edgelm.quant.scheme import settings_bits_per_weight
from edgelm.units import format_bytes
from edgelm.zoo.caches.shape import trace_cache
from edgelm.zoo.weights.safetensors_header import TensorInfo
from edgelm_converters.conversion import Conversion
from edgelm_converters.methods.budget.as_stored import AsStored
from edgelm_converters.targets.mlx.plan import OutputPlan, stored_bytes
from edgelm_converters.targets.mlx.shard import DTYPE_NAMES, size_bytes

_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([kKmMgGtT]?)(i?)[bB]?\s*$")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(text: str) -> int:
    """`"2.3GB"` → 2_300_000_000; decimal units, or binary with an i (GiB).

    Raises:
        OptionError: not a size.
    """
    found = _SIZE.match(text)
    if found is None:
        raise OptionError(f"size is {text!r}, expected a number and a unit", hint="for example --size 2.3GB")
    base = 1024 if found[3] else 1000
    return int(float(found[1]) * base ** _POWERS[found[2].lower()])


def parse_mac(text: str) -> devices.Device:
    """`"M2 Air 8GB"` → that Mac; words that are neither chip nor memory are ignored.

    Raises:
        OptionError: no chip or no memory in it, or none that exists.
    """
    memory = re.search(r"(\d+(?:\.\d+)?)\s*G(?:i?B)?\b", text, re.IGNORECASE)
    chip = re.search(r"\bM\d+(?:\s*(?:Pro|Max|Ultra)\b)?", text, re.IGNORECASE)
    if memory is None or chip is None:
        raise OptionError(
            f"fit is {text!r}, expected a chip and its memory", hint='for example --fit "M2 Air 8GB"'
        )
    return devices.simulate(chip[0], float(memory[1]))


def budget_bytes(wanted: Conversion, plan: OutputPlan, network: Any, config: Mapping[str, Any]) -> int:
    """What all tensors together may take."""
    if wanted.size is not None:
        return parse_size(wanted.size)
    if wanted.bpw is not None:
        return int(wanted.bpw * plan.parameters / 8)
    assert wanted.fit is not None
    mac = parse_mac(wanted.fit)
    headers = {
        name: TensorInfo(DTYPE_NAMES[dtype], shape, 0, size_bytes(shape, dtype))
        for name, (shape, dtype) in plan.layout.items()
    }
    fit = price(headers, trace_cache(network), config, mac)
    left = fit.budget_bytes - (fit.kv_bytes or 0) - (fit.workspace_bytes or 0)
    if left <= 0:
        raise OptionError(
            f"{wanted.fit} has {format_bytes(fit.budget_bytes)} to give, and the cache of {fit.context_tokens}"
            " tokens and the workspace alone take more"
        )
    return left


def decide_by_budget(
    decision: Decision, plan: OutputPlan, budget: int, found: Mapping[str, Sensitivity], tied: str | None,
    stored: AsStored | None = None,
) -> tuple[Decision, dict[str, WidthChoice]]:  # fmt: skip
    """`decision` with a width and group for every tensor of `found`, together within `budget` bytes, and the choices.

    Args:
        tied: the embedding that is also the head: never narrower than the body on average.
        stored: what the source holds; a tensor may stay as it is there.
    """
    choices = {path: _choices(plan, path, sensitivity, stored) for path, sensitivity in found.items()}
    fixed = stored.fixed_bytes(list(found)) if stored else _fixed_bytes(plan, list(found))
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
    """Of a code; of half precision where the tensor stays unquantized."""
    return int(choice.settings.get("bits", 16))


def decide_without_measuring(
    decision: Decision, plan: OutputPlan, movable: Sequence[str], budget: int, stored: AsStored | None = None
) -> tuple[Decision, dict[str, WidthChoice]] | None:
    """`decision` with every tensor as it is stored or as wide as may be, and the choices, if `budget` holds that."""
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
    plan: OutputPlan, movable: Sequence[str], budget: int, wanted: Conversion, stored: AsStored | None = None
) -> None:
    """Refuse a budget that even the fewest bits exceed, from shapes alone.

    Raises:
        OptionError: it does; the message says what the smallest possible is.
    """
    smallest = (min(size for _, size in _offers(plan, path)) for path in movable)
    least = (stored.fixed_bytes(movable) if stored else _fixed_bytes(plan, movable)) + sum(smallest)
    if least > budget:
        raise OptionError(
            f"the budget is {format_bytes(budget)} ({budget * 8 / plan.parameters:.2f} bits per weight), and the"
            f" smallest possible is {format_bytes(least)} ({least * 8 / plan.parameters:.2f})",
            hint=_larger(wanted, least, plan.parameters),
        )


def _larger(wanted: Conversion, least: int, parameters: int) -> str:
    """What to ask for instead, by the option that was used."""
    if wanted.bpw is not None:
        return f"ask for --bpw {math.ceil(least * 800 / parameters) / 100:g} or more"
    if wanted.size is not None:
        return f"ask for --size {math.ceil(least / 1e5) / 10:g}MB or more"
    return "a Mac with more memory would hold it; --fit names another"


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
        offered = (said for said, _ in _offers(plan, path) if said["bits"] == settings["bits"])
        return min((expected(said) for said in offered), default=0.0)

    choices = [WidthChoice(settings, size, expected(settings)) for settings, size in _offers(plan, path)]
    return choices if stored is None else [*choices, stored.choice(path, expected_of_stored)]


def _fixed_bytes(plan: OutputPlan, movable: Sequence[str]) -> int:
    """Of everything that a budget has no choice about."""
    return plan.size_bytes - sum(stored_bytes(plan, path) for path in movable)
