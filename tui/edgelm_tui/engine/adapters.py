"""The adapter of the loaded model: changed, and made stronger or weaker, without loading the model again where it can be.

A model that can has `adapters`, `add_adapter` and `set_adapter` (see `edgelm.api.Model`). Runs on the engine's thread.
"""

from __future__ import annotations

from typing import Any

from edgelm.errors import UnsupportedError


class Adapters:
    """What is on one model; at most one adapter acts at a time.

    Args:
        loaded: the directory of the adapter that the model was loaded with.
    """

    def __init__(self, model: Any, loaded: str | None) -> None:
        self._model = model
        self._names: dict[str, str] = {}
        self.current = loaded
        if loaded is not None and self.is_live:
            self._names = {loaded: next(iter(model.adapters))}

    @property
    def is_live(self) -> bool:
        """Whether adapters can be put on and scaled while the model lives."""
        return hasattr(self._model, "set_adapter")

    def use(self, adapter: str | None) -> None:
        """Let one adapter act, or none. Only where `is_live`."""
        if adapter is not None and adapter not in self._names:
            self._names[adapter] = self._model.add_adapter(adapter)
        self.current = adapter
        self.scale(1.0)

    def scale(self, strength: float) -> None:
        """How strongly the adapter acts from the next answer on.

        Raises:
            UnsupportedError: this model's adapters have a fixed strength, and another is asked for.
        """
        if not self.is_live:
            if self.current is not None and strength != 1.0:
                raise UnsupportedError(
                    f"the adapter's scale is {strength}, but this runtime applies adapters at 1 only",
                    hint="set adapter_scale to 1 with Ctrl+O",
                )
            return
        weights = self._model.adapters
        for adapter, name in self._names.items():
            wanted = strength if adapter == self.current else 0.0
            if weights.get(name) != wanted:
                self._model.set_adapter(name, wanted)
