"""Which of the requests that wait join together: the first, and those nearest to it in length.

Knows lengths and order; nothing about networks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

from edgelm.runtime.batching.batch_cache import SPREAD_TOKENS, widest_spread
from edgelm.runtime.sequence import ActiveRequest


def before_a_loner(queue: Iterable[ActiveRequest]) -> list[ActiveRequest]:
    """Return the requests that may share steps, up to the first that may not."""
    return list(itertools.takewhile(lambda active: active.most_rows != 1, queue))


def mates(
    waiting: Sequence[ActiveRequest],
    places: int,
    rest_tokens: Callable[[ActiveRequest], int],
    fits: Callable[[list[ActiveRequest]], bool],
    *,
    most_padding: int = SPREAD_TOKENS,
) -> list[ActiveRequest]:
    """Return the first of `waiting` with others of about its length; none if the first does not fit.

    Answers of one prompt join among themselves: it is computed for the first of them, and for nobody else's sake in part.

    Args:
        places: how many may join.
        rest_tokens: what is to be computed of a prompt.
        fits: whether these may run beside those that run already.
        most_padding: tokens that are computed only for the shorter ones to be as long as the longest.
    """
    if not waiting or places < 1 or not fits([waiting[0]]):
        return []
    first, *others = waiting
    others = [active for active in others if _may_join(active, first)]
    rests = {id(active): rest_tokens(active) for active in (first, *others)}
    size = rests[id(first)]
    group, sizes = [first], [size]
    for active in sorted(others, key=lambda active: abs(rests[id(active)] - size)):
        sizes.append(rests[id(active)])
        is_mate = max(sizes) - min(sizes) <= widest_spread(len(sizes), most_padding)
        if len(group) == places or not is_mate or not fits([*group, active]):
            break
        group.append(active)
    return group


def _may_join(active: ActiveRequest, first: ActiveRequest) -> bool:
    return active.request is first.request or active.request.n == first.request.n == 1
