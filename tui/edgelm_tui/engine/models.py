"""The real ways to models: load, find, list and price them. Heavy imports wait until they are needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgelm_tui.engine.events import FitKnown

if TYPE_CHECKING:
    from edgelm.conversation.model import ChatModel


def load_model(name: str, adapter: str | None = None) -> ChatModel:
    """Load a model, with an adapter on it if one is named.

    Raises:
        NotFoundError, FitError, ...: as `edgelm.load`.
    """
    from edgelm.api import load

    return load(name, adapter=adapter, disk_cache=True)


def find_model(name: str) -> Path:
    """Find where a model is; one of the Hub is fetched.

    Raises:
        NotFoundError: there is none.
    """
    from edgelm.api import find_model
    from edgelm.progress import ignore_progress

    return find_model(name, ignore_progress)


def list_library() -> list[str]:
    """List the names of the installed models that can be used."""
    from edgelm.library.models import installed

    return [model.name for model in installed() if model.problem is None]


def price_model(name: str) -> FitKnown:
    """Tell whether an installed model fits here.

    Raises:
        NotFoundError, FormatError: there is none, or it cannot be read.
    """
    from edgelm.device import detect
    from edgelm.library.models import resolve
    from edgelm.pricing.fit import check_fit
    from edgelm.units import format_bytes
    from edgelm.zoo.configs.normalise import normalise_config, read_config

    directory = resolve(name)
    fit = check_fit(directory, normalise_config(read_config(directory)), detect())
    longest = f"; longest context {fit.max_context:,} tokens" if fit.max_context else ""
    detail = (
        f"{format_bytes(fit.total_bytes)} of {format_bytes(fit.budget_bytes)} with {fit.context_tokens:,} tokens"
        f" of context{longest}"
    )
    return FitKnown(name, fit.verdict, detail)
