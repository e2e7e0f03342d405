"""Which layers of a hybrid are of a kind, in the words of configs that know only a period."""

from __future__ import annotations

from collections.abc import Sequence

from edgelm.errors import UnsupportedError
from edgelm_converters.sources.gguf.metadata import Keys


def every_nth(keys: Keys, what: str, flags: Sequence[bool]) -> tuple[int, int]:
    """Return the period of the layers that have `what`, and the first of them.

    Raises:
        UnsupportedError: they do not come at even distances.
    """
    places = [layer for layer, has in enumerate(flags) if has]
    if not places:
        return 1, 0
    first = places[0]
    period = places[1] - first if len(places) > 1 else max(first + 1, len(flags) - first)
    if [layer % period == first for layer in range(len(flags))] != list(flags):
        raise UnsupportedError(
            f"{keys.path} has {what} in layers {places[:20]}, expected them at even distances"
        )
    return period, first
