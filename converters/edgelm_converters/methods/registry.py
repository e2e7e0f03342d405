"""Every quantization method by its name, from the fastest to the most careful, and which is meant where none is named."""

from __future__ import annotations

from edgelm_converters.methods.best import SequentialGptq
from edgelm_converters.methods.fast import ScaleSearch
from edgelm_converters.methods.good import WeightedSearch
from edgelm_converters.methods.method import QuantizationMethod
from edgelm_converters.methods.rtn import RoundToNearest

ROUNDING: QuantizationMethod = RoundToNearest()
"""The default for wide codes."""
SEARCHED: QuantizationMethod = ScaleSearch()
"""The default for weights that stay as precise as the source has them."""
NARROW_DEFAULT: QuantizationMethod = WeightedSearch()
"""The default for codes of few bits."""
BUDGET_DEFAULT: QuantizationMethod = SequentialGptq()
"""The default with a budget, whose measuring takes time anyway."""

METHODS = {method.name: method for method in (ROUNDING, SEARCHED, NARROW_DEFAULT, BUDGET_DEFAULT)}


def calibrated_methods(joined_by: str) -> str:
    """Name the methods that use calibration text as flags: "--quality good or --quality best"."""
    return joined_by.join(f"--quality {method.name}" for method in METHODS.values() if method.needs_text)
