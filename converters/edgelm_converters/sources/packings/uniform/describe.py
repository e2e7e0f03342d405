"""What the receipt says of a packed source: how much was kept code for code, how much was not, and what that costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from edgelm.quant.scheme import Settings
from edgelm.units import count
from edgelm_converters.sources.packings.packed_format import Presented


def describe(label: str, result: Presented) -> None:
    """Note for the receipt what became of the modules of a format.

    Args:
        label: the format, as the receipt says it: "GPTQ".
    """
    if result.quantization:
        kept = count(len(result.quantization), "module")
        result.notes.append(f"{label}: {kept} kept code for code, {_widths(result.quantization)}")
    if result.requantized:
        unpacked = count(len(result.requantized), "module")
        result.notes.append(
            f"{label}: {unpacked} in a form that MLX does not have, quantized anew to {_widths(result.requantized)}"
        )


def _widths(layers: Mapping[str, Settings]) -> str:
    """ "4 bits in groups of 128", the most common first."""
    counts = Counter((each["bits"], each["group_size"]) for each in layers.values())
    named = [f"{bits} bits in groups of {group_size}" for (bits, group_size), _ in counts.most_common()]
    return " and ".join(named[:3])
