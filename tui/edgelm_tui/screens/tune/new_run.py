"""What a new training run is told, and what is wrong with it before anything is started. Knows no widget."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

_FILES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt")


@dataclass(frozen=True, slots=True)
class NewRun:
    """What to train."""

    model: str
    data: str
    method: str = "lora"
    epochs: str = ""
    rank: str = ""
    learning_rate: str = ""

    def arguments(self) -> list[str]:
        """Return the arguments of `edgelm tune` that begin the run."""
        said = ["tune", self.model, "--data", self.data, "--method", self.method, "--json"]
        for flag, value in (
            ("--epochs", self.epochs),
            ("--rank", self.rank),
            ("--learning-rate", self.learning_rate),
        ):
            said += [flag, value] if value.strip() else []
        return said

    def problem(self) -> tuple[str, str] | None:
        """Name the field that is wrong, and what is wrong with it; None where all can be tried."""
        if not self.data:
            return "data", "no data is named"
        if _is_path(self.data) and not Path(self.data).expanduser().exists():
            return "data", f"data: there is no file or directory {self.data}"
        if self.rank and not (self.rank.isdecimal() and int(self.rank) > 0):
            return "rank", f"rank is {self.rank!r}, expected a whole number from 1"
        for name, value in (("epochs", self.epochs), ("learning_rate", self.learning_rate)):
            if value and not _is_positive(value):
                return name, f"{name.replace('_', ' ')} is {value!r}, expected a number above 0"
        return None


def _is_path(data: str) -> bool:
    """A dataset of the Hub is `organisation/name`; all else that has a separator or a known ending is on the disk."""
    return (
        data.startswith((".", "/", "~"))
        or data.lower().endswith(_FILES)
        or data.count("/") > 1
        or "\\" in data
    )


def _is_positive(text: str) -> bool:
    try:
        value = float(text)
    except ValueError:
        return False
    return math.isfinite(value) and value > 0
