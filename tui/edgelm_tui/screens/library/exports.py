"""What can be made of a model or adapter that is installed: other widths, a model with an adapter built in, PEFT's format.

Each is a job; knows no widget.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm import paths
from edgelm.library.names import place
from edgelm_tui.screens.library.entries import Entry


@dataclass(frozen=True, slots=True)
class Export:
    """One way out."""

    label: str
    kind: str
    """The kind of the job."""
    target: Path
    """Where it goes unless the user says otherwise."""
    settings: dict[str, Any]
    """The settings of the job, but for the target."""

    def job(self, target: Path) -> dict[str, Any]:
        """Return all settings of the job."""
        return {**self.settings, "output": str(target)}


def exports_of(entry: Entry) -> list[Export]:
    """List every way out of `entry`."""
    return _of_model(entry) if entry.kind == "model" else _of_adapter(entry)


def _of_model(entry: Entry) -> list[Export]:
    stem = entry.name
    for ending in ("-2bit", "-3bit", "-4bit", "-5bit", "-6bit", "-8bit"):
        stem = stem.removesuffix(ending)
    source = {"source": str(entry.directory)}

    def to(label: str, ending: str, **settings: Any) -> Export:
        return Export(label, "convert", paths.models() / f"{stem}{ending}", {**source, **settings})

    return [
        to("unquantized, for other tools: 16 bits a weight", "-dense", mode="none"),
        to("8 bits a weight", "-8bit", bits=8),
        to("4 bits a weight", "-4bit", bits=4),
    ]


def _of_adapter(entry: Entry) -> list[Export]:
    base = {"adapter": str(entry.directory), "model": entry.base}

    def fused(label: str, ending: str, *, keep_dense: bool) -> Export:
        target = paths.models() / f"{entry.base}-{entry.name}{ending}"
        return Export(label, "fuse", target, {**base, "keep_dense": keep_dense})

    return [
        Export("an adapter for PEFT (transformers)", "peft", Path.cwd() / f"{entry.name}-peft", dict(base)),
        fused("a model with it built in, quantized like its base", "", keep_dense=False),
        fused(
            "a model with it built in, adapted layers unquantized: nothing is lost", "-dense", keep_dense=True
        ),
    ]


def to_directory(text: str, usual: Path) -> Path:
    """Read what the user typed: a path where it has a slash, else a name beside the usual place.

    Raises:
        OptionError: a name that is none.
    """
    said = text.strip()
    if os.sep in said or said.startswith("~"):
        return place(usual.parent, output=said)
    return place(usual.parent, name=said)
