"""What was asked of `edgelm tune`, as plain values that are kept with the run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgelm.errors import FormatError
from edgelm.tune.data.settings import DataSettings
from edgelm.tune.settings import TuneSettings


@dataclass(frozen=True)
class TuneRequest:
    """What is tuned: a model, data, and settings."""

    model: Path
    """Its directory."""
    data: str
    """A file, a directory of train and valid, or a Hub dataset."""
    validation: str | None = None
    hold_out: float = 0.05
    """Share of the prompts kept out of training to measure on, where there is no validation file."""
    settings: TuneSettings = field(default_factory=TuneSettings)
    data_settings: DataSettings = field(default_factory=DataSettings)
    prompts: tuple[str, ...] = ()
    """Asked at every validation; without any, the first of the data."""
    answer_tokens: int = 48
    """The most tokens of each such answer; 0 asks nothing."""
    name: str | None = None
    """The name of the run, and of its adapter."""
    output: Path | None = None
    """Where the adapter goes; by default under `paths.adapters()`."""
    check_fit: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON's own types."""
        values = dataclasses.asdict(self)
        return {
            **values,
            "model": str(self.model.absolute()),
            "data": _absolute(self.data),
            "validation": _absolute(self.validation) if self.validation else None,
            "output": str(self.output.absolute()) if self.output else None,
            "settings": self.settings.flat(),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TuneRequest:
        """Read a request back from what `to_json` gave.

        Raises:
            FormatError: an edgelm of another version wrote it.
            OptionError: a setting that is none.
        """
        try:
            return cls(
                **{
                    **values,
                    "model": Path(values["model"]),
                    "output": Path(values["output"]) if values["output"] else None,
                    "prompts": tuple(values["prompts"]),
                    "settings": TuneSettings.build(**values["settings"]),
                    "data_settings": DataSettings(**values["data_settings"]),
                }
            )
        except (KeyError, TypeError) as error:
            raise FormatError(
                f"the config of the run cannot be read: {error}", hint="another edgelm wrote it"
            ) from error


def _absolute(text: str) -> str:
    path = Path(text).expanduser()
    return str(path.absolute()) if path.exists() else text
