"""The state of a batch between two layers: hidden states, and what earlier layers returned beside them."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from edgelm.errors import UnsupportedError

State = dict[str, Any]
"""`{"hidden": [B, T, C], "beside": {layer: what it returned beside hidden states}}`; the latter may be missing."""


def state_after(state: State, index: int, returned: Any) -> State:
    """Return the state after layer `index` has `returned`."""
    beside = state.get("beside", {})
    if isinstance(returned, (tuple, list)):
        beside = {**beside, _key(index): list(returned[1:])}
    return {"hidden": hidden_of(returned), "beside": beside}


def hidden_of(returned: Any) -> mx.array:
    """Return the hidden states in what a layer returned.

    Raises:
        UnsupportedError: it does not return them first.
    """
    hidden = returned[0] if isinstance(returned, (tuple, list)) else returned
    if not isinstance(hidden, mx.array):
        raise unsupported(f"a layer returns {type(hidden).__name__}, expected hidden states first")
    return hidden


def returned_with(state: State, index: int, hidden: mx.array) -> Any:
    """Return `hidden` as layer `index` did, together with what `state` keeps that it returned beside them."""
    beside = state.get("beside", {}).get(_key(index))
    return hidden if beside is None else (hidden, *beside)


def _key(index: int) -> str:
    """The name of a layer in a state; digits alone would make a list of it when it comes back from the disk."""
    return f"layer-{index}"


def unsupported(reason: str) -> UnsupportedError:
    """Make the error for an architecture that cannot be run layer by layer."""
    return UnsupportedError(
        f"this architecture cannot be calibrated layer by layer: {reason}",
        hint="use --quality fast, which needs no calibration text",
    )
