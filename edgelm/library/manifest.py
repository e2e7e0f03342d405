"""`edgelm.json`: what a model directory was made from, how, and what that cost.

Standard MLX-LM directories have none; everything that edgelm writes has one. Stock mlx-lm ignores it.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgelm.errors import FormatError
from edgelm.version import __version__

FILE_NAME = "edgelm.json"


@dataclass(frozen=True)
class Manifest:
    """The contents of `edgelm.json`; unknown keys of later versions are ignored."""

    source: str
    """A Hub id, a path, or the name of an installed model package."""
    kind: str
    """"huggingface", "pytorch", "meta" or "gguf"."""
    revision: str | None = None
    """The Hub commit."""
    source_sha256: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each weight file, by file name."""
    weights_sha256: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each safetensors file written here: what an adapter is bound to."""
    licence: str | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    """Bits, group size, mode and dtype that were asked for."""
    bits_per_weight: float | None = None
    """Over all parameters, scales and unquantized tensors included."""
    size_bytes: int | None = None
    """The size of the safetensors files together."""
    receipt: dict[str, Any] = field(default_factory=dict)
    """What the conversion cost and what it lost."""
    parents: list[dict[str, Any]] = field(default_factory=list)
    """What this was built on: `{"source": …, "sha256": …}`."""
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    edgelm_version: str = __version__

    @classmethod
    def read(cls, directory: Path) -> Manifest | None:
        """Read the manifest in `directory`; None if it has none.

        Raises:
            FormatError: the file is there and is not a manifest.
        """
        path = directory / FILE_NAME
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{path} is not valid JSON: {error}") from error
        if (
            not isinstance(said, dict)
            or not isinstance(said.get("source"), str)
            or not isinstance(said.get("kind"), str)
        ):
            raise FormatError(f"{path} is not a manifest: expected an object with source and kind")
        known = {item.name for item in dataclasses.fields(cls)}
        return cls(**{key: value for key, value in said.items() if key in known})

    def write(self, directory: Path) -> None:
        """Write `edgelm.json` into `directory`."""
        text = json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False)
        (directory / FILE_NAME).write_text(text + "\n", encoding="utf-8")
