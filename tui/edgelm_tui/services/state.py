"""What every screen's status line shows: the model, the job under way, servers that run, and memory."""

from __future__ import annotations

from dataclasses import dataclass

from edgelm.machine.memory import Memory
from edgelm.units import format_bytes
from edgelm_tui.engine.events import Loaded


@dataclass
class AppState:
    """Plain values; the app changes them and tells its screens."""

    names: tuple[str, ...] = ()
    """Installed models."""
    is_listed: bool = False
    """Whether the library has been looked into yet."""
    model: Loaded | None = None
    loading: str | None = None
    problem: str | None = None
    """Why there is no model, or not the one that was asked for last."""
    memory: Memory | None = None
    training: str = ""
    """The training run that was begun in this app, in words."""
    job: str = ""
    """All that runs, in words."""
    servers: str = ""
    """The servers of this machine, in words."""

    def status(self, width: int) -> str:
        """Say the state in one line, the most important first; what does not fit is left out."""
        line = ""
        for part in self._parts():
            longer = f"{line} · {part}" if line else part
            if len(longer) > width and line:
                break
            line = longer
        return line

    def _parts(self) -> list[str]:
        parts = [self._model()]
        if self.model is not None and self.problem:
            parts.append(self.problem)
        if self.job:
            parts.append(self.job)
        if self.servers:
            parts.append(self.servers)
        if self.memory is not None:
            used = self.memory.total_bytes - self.memory.available_bytes
            parts.append(f"memory {format_bytes(used)} of {format_bytes(self.memory.total_bytes)}")
        return parts

    def _model(self) -> str:
        if self.loading:
            return f"loading {self.loading}"
        if self.model is None:
            return self.problem or ("no model" if self.is_listed else "starting")
        bits = f" · {self.model.bits_per_weight:.3g} bits" if self.model.bits_per_weight else ""
        adapter = f" + {self.model.adapter.rstrip('/').rpartition('/')[2]}" if self.model.adapter else ""
        return f"{self.model.name}{adapter}{bits}"
