"""The base of an adapter: its description, and the refusal of another one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm.adapters.files import REWARD, Adapter
from edgelm.errors import UnsupportedError
from edgelm.library.identity import weights_identity
from edgelm.library.licence import licence_of
from edgelm.library.manifest import Manifest
from edgelm.zoo.configs.normalise import normalise_config, read_config


@dataclass(frozen=True)
class AdapterBase:
    """The model that was trained on."""

    name: str
    source: str
    sha256: str
    """Its `weights_identity`."""
    licence: str | None
    num_layers: int

    def as_parent(self) -> dict[str, Any]:
        """Return what the manifest of something built on this base says of it."""
        return {
            "relation": "base",
            "name": self.name,
            "source": self.source,
            "sha256": self.sha256,
            "licence": self.licence,
        }


def describe_base(model: Path) -> AdapterBase:
    """Return the base that the model in a directory is.

    Raises:
        NotFoundError, FormatError: there is none, or it is broken.
    """
    config = normalise_config(read_config(model))
    text = config.get("text_config") or config
    return AdapterBase(
        name=model.absolute().name,
        source=os.path.normpath(model.absolute()),
        sha256=weights_identity(model),
        licence=licence_of(model),
        num_layers=int(text.get("num_hidden_layers") or -1),
    )


def adapter_identity(adapter: Adapter) -> str:
    """Return the hash of an adapter's own weights, for those who build on it."""
    return weights_identity(adapter.directory)


def parent_of(adapter: Adapter, relation: str, **more: Any) -> dict[str, Any]:
    """Return what the manifest of something made of `adapter` says of it."""
    known = Manifest.read(adapter.directory)
    return {
        "relation": relation,
        "name": adapter.name,
        "source": str(adapter.directory.absolute()),
        "sha256": adapter_identity(adapter),
        "licence": known.licence if known else None,
        **more,
    }


def check_writes(adapter: Adapter) -> None:
    """Refuse an adapter that scores answers where one is wanted that writes them.

    Raises:
        UnsupportedError: it is a reward model.
    """
    if adapter.config.task == REWARD:
        raise UnsupportedError(
            f"{adapter.directory} is a reward model: it scores answers and writes none",
            hint=f"--best-of 4 --judge-by model:{adapter.name} has it choose among the answers of a model",
        )


def check_base(adapter: Adapter, model: Path) -> None:
    """Refuse an adapter that was trained on other weights than those in `model`, or that is a reward model.

    Raises:
        UnsupportedError: it was. An adapter that does not say passes.
    """
    check_writes(adapter)
    check_weights(adapter, model)


def check_weights(adapter: Adapter, model: Path) -> None:
    """Refuse an adapter, whatever it does, that was trained on other weights than those in `model`.

    Raises:
        UnsupportedError: it was. An adapter that does not say passes.
    """
    said = adapter.config.base_sha256
    if said is None:
        return
    found = weights_identity(model)
    if said != found:
        trained_on = adapter.config.base or "another model"
        raise UnsupportedError(
            f"{adapter.directory} was trained on {trained_on} ({said[:12]}), not on {model.name} ({found[:12]})",
            hint="load it on the model it was trained on, or tune again on this one",
        )
