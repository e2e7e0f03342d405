"""What a benchmark found, on what: plain values that JSON can write and another machine can be compared with."""

from __future__ import annotations

import dataclasses
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Literal

from edgelm.device import Device
from edgelm.machine.condition import condition
from edgelm.version import __version__

FORMAT = 1

Unit = Literal["token/s", "s"]


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over the repeats."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> Spread:
        """Return the spread of one figure for each repeat."""
        return cls(statistics.median(figures), min(figures), max(figures))


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that was measured, on every side by turns."""

    name: str
    unit: Unit
    edgelm: Spread
    without: Spread | None = None
    """edgelm without what the case is about."""
    without_what: str = ""
    """What that is called: "computed again", "one by one"."""
    peer: Spread | None = None
    note: str = ""
    """What is wrong with the measurement, if anything."""

    def gain_over(self, other: Spread | None) -> float | None:
        """Return how many times better edgelm is, by the medians; above 1 favours edgelm, whatever the unit."""
        if other is None or not self.edgelm.median or not other.median:
            return None
        ratio = self.edgelm.median / other.median
        return ratio if self.unit == "token/s" else 1 / ratio


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine that was measured on; nothing names a person or a host."""

    chip: str
    backend: str
    memory_bytes: int
    cpu_cores: int | None
    system: str
    has_fast_blas: bool

    @classmethod
    def of(cls, device: Device) -> Machine:
        """Return the machine that this process runs on."""
        system = f"{platform.system()} {platform.release()} {platform.machine()}"
        return cls(
            device.chip, device.backend, device.memory_bytes, device.cpu_cores, system, device.has_fast_blas
        )


@dataclass(frozen=True, slots=True)
class BenchedModel:
    """The model that was measured."""

    name: str
    fingerprint: str
    """The fingerprint of the weights and the config, see `edgelm.zoo.weights.fingerprint`."""
    size_bytes: int
    """Bytes in memory."""
    dtype: str
    quantization: dict[str, Any] | None
    """As config.json has it."""
    adapter: str | None = None
    """Fingerprint of the adapter on it."""


@dataclass(frozen=True)
class BenchReport:
    """Everything that a benchmark measured: the machine, the versions, and the cases."""

    machine: Machine
    model: BenchedModel
    cases: tuple[Case, ...]
    repeats: int
    peer: str | None
    peak_memory_bytes: int
    skipped: tuple[str, ...] = ()
    """What could not be measured on this model, and why."""
    condition: str = dataclasses.field(default_factory=lambda: condition().line())
    """System build, power, heat and TF32, on one line."""
    versions: dict[str, str] = dataclasses.field(default_factory=lambda: versions())
    created: str = dataclasses.field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON types, with the ratios beside the figures."""
        report = {"format": FORMAT, **dataclasses.asdict(self)}
        for case, row in zip(self.cases, report["cases"], strict=True):
            row["gain_over_without"] = case.gain_over(case.without)
            row["gain_over_peer"] = case.gain_over(case.peer)
        return report


def versions() -> dict[str, str]:
    """Return the versions of what decides the speed, by package."""
    return {
        "edgelm": __version__,
        "mlx": version("mlx"),
        "mlx-lm": version("mlx-lm"),
        "python": platform.python_version(),
    }
