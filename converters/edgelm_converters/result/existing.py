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
    """What a manifest keeps of `wanted`, to tell conversions apart that share a name."""
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
        told = None if wanted is None or origin is None else _told(target, wanted, origin)
        if told is None:
            raise
        raise OutputError(f"{target} already exists, {told}", hint=_HINT) from error


def _told(target: Path, wanted: Conversion, origin: SourceOrigin) -> str | None:
    """How the model in `target` differs from what is asked for; None where nothing says."""
    try:
        made = Manifest.read(target)
    except FormatError:
        return None
    if made is None:
        return None
    found = _differences(made, wanted, origin)
    return f"made with {', '.join(found)}" if found else "made of the same source with the same settings"


def _differences(made: Manifest, wanted: Conversion, origin: SourceOrigin) -> list[str]:
    before, now = (
        {**_DEFAULTS, **{key: value for key, value in said.items() if value is not None}}
        for said in (made.recipe, recorded(wanted))
    )
    pairs = [("source", made.source, origin.source), ("revision", made.revision, origin.revision)]
    pairs += [(key, before.get(key), now.get(key)) for key in _COMPARED]
    return [f"{key} {_word(then)} instead of {_word(asked)}" for key, then, asked in pairs if then != asked]


def _word(value: Any) -> str:
    return "none" if value is None else str(value)
