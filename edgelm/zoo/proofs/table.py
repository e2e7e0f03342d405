"""The shipped table: per architecture, which cases were proved equal to transformers, and what the others do.

`tests/architectures/prove.py --write` makes it. A family is named by `model_type`, a wrapper's also by its text model's.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm.zoo.configs.sources import ALIASES

ROPE = "rope "
"""How the names of settings begin that stand in `rope_parameters`."""

PATH = Path(__file__).with_name("table.json")


_PUBLISHED = {ours: published for published, ours in ALIASES.items()}
"""mlx-lm's names of architectures, as converted models have them, to those of transformers."""


@dataclass(frozen=True)
class OtherCase:
    """A case that is not equal: it differs, or is refused."""

    case: str
    verdict: str
    """"differs", "refused", or "untried" where mlx-lm's code needs Metal, which the table is made without."""
    layouts: tuple[str, ...]
    """As which it was written: "transformers", "published"."""
    error: float | None
    """Largest difference of logits over the largest logit."""
    words: str
    settings: Mapping[str, str]
    """Its forms that no equal case of its architecture has; empty where a length or a size tells it, or no case is equal."""


@dataclass(frozen=True)
class ProvedArchitecture:
    """What was tried of one architecture."""

    name: str
    cases: tuple[str, ...]
    """Those that are equal, in every layout."""
    error: float
    """The largest relative difference among them."""
    settings: Mapping[str, tuple[str, ...]]
    """Setting → its forms in equal cases; a setting that is not listed was a number in all."""
    others: tuple[OtherCase, ...]

    def proved_forms(self, setting: str) -> tuple[str, ...]:
        """Return the forms of a setting that are proved; those of RoPE's are all listed."""
        return self.settings.get(setting, () if setting.startswith(ROPE) else ("number",))


@dataclass(frozen=True)
class ProofTable:
    """All of it, and what it was made with."""

    mlx_lm: str
    transformers: str
    tokens: int
    window: int
    bound: float
    architectures: Mapping[str, ProvedArchitecture]


@functools.cache
def shipped_table() -> ProofTable:
    """Read the table that came with this edgelm."""
    return parse_table(json.loads(PATH.read_text(encoding="utf-8")))


def parse_table(said: Mapping[str, Any]) -> ProofTable:
    """Make a table of its JSON."""
    architectures = {
        name: ProvedArchitecture(
            name,
            tuple(entry["cases"]),
            entry["error"],
            {key: tuple(forms) for key, forms in entry["settings"].items()},
            tuple(OtherCase(**{**other, "layouts": tuple(other["layouts"])}) for other in entry["others"]),
        )
        for name, entry in said["architectures"].items()
    }
    scalars = {key: said[key] for key in ("mlx_lm", "transformers", "tokens", "window", "bound")}
    return ProofTable(architectures=architectures, **scalars)


def name_of(config: Mapping[str, Any]) -> str:
    """Name the entry of a config.json: its `model_type`, and that of its text model where it is another family's."""
    said, text = str(config.get("model_type")), config.get("text_config")
    outer = _PUBLISHED.get(said, said)
    inner = text.get("model_type") if isinstance(text, dict) else None
    if not isinstance(inner, str) or inner.startswith(outer) or inner == f"{outer}_text":
        return outer
    return f"{outer} of {inner}"
