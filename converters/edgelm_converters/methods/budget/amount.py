"""The budget of a conversion as a number of bytes: `--size`, `--bpw` or `--fit`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgelm import device as devices
from edgelm.errors import OptionError
from edgelm.pricing.fit import price
from edgelm.units import format_bytes
from edgelm.zoo.caches.shape import trace_cache
from edgelm_converters.targets.mlx.plan import OutputPlan

_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([kKmMgGtT]?)(i?)[bB]?\s*$")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(text: str) -> int:
    """Read `"2.3GB"` as 2_300_000_000 bytes; decimal units, or binary with an i (GiB).

    Raises:
        OptionError: not a size.
    """
    match = _SIZE.match(text)
    if match is None:
        raise OptionError(f"size is {text!r}, expected a number and a unit", hint="for example --size 2.3GB")
    base = 1024 if match[3] else 1000
    return int(float(match[1]) * base ** _POWERS[match[2].lower()])


def parse_mac(text: str) -> devices.Device:
    """Read `"M2 Air 8GB"` as that Mac; words that are neither chip nor memory are ignored.

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


@dataclass(frozen=True)
class ByteBudget:
    """What is asked for, in one of three ways."""

    size: str | None = None
    """The weight files, as "2.3GB"."""
    bpw: float | None = None
    """Bits per weight over all parameters, scales included."""
    fit: str | None = None
    """A Mac that holds the weights beside its cache, as "M2 Air 8GB"."""

    def in_bytes(self, plan: OutputPlan, network: Any, config: Mapping[str, Any]) -> int:
        """Count the bytes that all tensors of `plan` together may take.

        Args:
            network: a network of `config`, whose cache is priced for `fit`.

        Raises:
            OptionError: it cannot be read, or the Mac has nothing left for weights.
        """
        if self.size is not None:
            return parse_size(self.size)
        if self.bpw is not None:
            return int(self.bpw * plan.parameters / 8)
        assert self.fit is not None
        fit = price(plan.headers, trace_cache(network), config, parse_mac(self.fit))
        left = fit.budget_bytes - (fit.kv_bytes or 0) - (fit.workspace_bytes or 0)
        if left <= 0:
            raise OptionError(
                f"{self.fit} has {format_bytes(fit.budget_bytes)} to give, and the cache of {fit.context_tokens}"
                " tokens and the workspace alone take more"
            )
        return left

    def larger(self, least: int, parameters: int) -> str:
        """Say what to ask for instead, by the option that was used, if `least` bytes are needed."""
        if self.bpw is not None:
            return f"ask for --bpw {math.ceil(least * 800 / parameters) / 100:g} or more"
        if self.size is not None:
            return f"ask for --size {math.ceil(least / 1e5) / 10:g}MB or more"
        return "a Mac with more memory would hold it; --fit names another"
