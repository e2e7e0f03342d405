"""A model that is there already under the name of a new one: what is asked for now that it was not made with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgelm.atomic import refuse_existing
from edgelm.errors import FormatError, OutputError
from edgelm.library.manifest import FILE_NAME, Manifest
from edgelm_converters.conversion import CALIBRATION_TOKENS, Conversion
from edgelm_converters.sources.checkpoint import SourceOrigin

_HINT = "--force replaces it; --name or --output call the new one otherwise"
_DEFAULTS = {"calibration_tokens": CALIBRATION_TOKENS, "seed": 0}
_COMPARED = ("size", "bpw", "fit", "dtype", "calibration", "calibration_tokens", "seed", "distill")
"""What a manifest keeps as it was asked for."""


def recorded(wanted: Conversion) -> dict[str, Any]:
    """Return what a manifest keeps of `wanted`, to tell conversions apart that share a name."""
    return {key: getattr(wanted, key) for key in _COMPARED}


def refuse_there(
    target: Path, *, force: bool, wanted: Conversion | None = None, origin: SourceOrigin | None = None
) -> None:
    """Refuse to write over what is there; with `force`, over what is no model of edgelm's.

    Args:
        wanted: what is asked for now, and `origin` of what, where that is known: the refusal says what differs.

    Raises:
        OutputError: `target` exists and may not be replaced.
    """
    if force:
        if target.exists() and not (target / FILE_NAME).is_file():
            raise OutputError(f"{target} exists and was not written by edgelm, so it is not replaced")
        return
    try:
        refuse_existing(target, hint=_HINT)
    except OutputError as error:
        difference = None if wanted is None or origin is None else _told(target, wanted, origin)
        if difference is None:
            raise
        raise OutputError(f"{target} already exists, {difference}", hint=_HINT) from error


def _told(target: Path, wanted: Conversion, origin: SourceOrigin) -> str | None:
    """How the model in `target` differs from what is asked for; None where nothing says."""
    try:
        there = Manifest.read(target)
    except FormatError:
        return None
    if there is None:
        return None
    differences = _differences(there, wanted, origin)
    return (
        f"made with {', '.join(differences)}"
        if differences
        else "made of the same source with the same settings"
    )


def _differences(there: Manifest, wanted: Conversion, origin: SourceOrigin) -> list[str]:
    before, now = (
        {**_DEFAULTS, **{key: value for key, value in recipe.items() if value is not None}}
        for recipe in (there.recipe, recorded(wanted))
    )
    pairs = [("source", there.source, origin.source), ("revision", there.revision, origin.revision)]
    pairs += [(key, before.get(key), now.get(key)) for key in _COMPARED]
    return [f"{key} {_word(then)} instead of {_word(asked)}" for key, then, asked in pairs if then != asked]


def _word(value: Any) -> str:
    return "none" if value is None else str(value)
