"""A second network over the arrays of one that is loaded: modules of its own, and no weight twice."""

from __future__ import annotations

import copy
from typing import Any

from edgelm.zoo.tree import flat_parameters


def sharing_copy(network: Any) -> Any:
    """Copy the modules of `network`; every parameter is the same array in both until one of them exchanges it.

    What is done to one network, adapters put into it or weights exchanged, does not show in the other: arrays themselves never
    change.
    """
    return copy.deepcopy(network, {id(value): value for value in flat_parameters(network).values()})
