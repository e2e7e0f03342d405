"""The adapter of the loaded model: changed, and made stronger or weaker, without loading the model again.

A full fine-tune replaces the model's own weights, so that the model is loaded again where one comes or goes. Runs on the
engine's thread.
"""

from __future__ import annotations

from pathlib import Path

from edgelm.conversation.model import ChatModel
from edgelm.errors import EdgeLMError
from edgelm.json_files import read_json


class AdapterSwitch:
    """Lets at most one adapter act on a model.

    Args:
        loaded: the directory of the adapter that the model was loaded with.

    Attributes:
        current: the directory of the one that acts.
    """

    def __init__(self, model: ChatModel, loaded: str | None) -> None:
        self._model = model
        self._names = {} if loaded is None else {loaded: next(iter(model.adapters))}
        self._is_full = loaded is not None and _is_full(loaded)
        self.current = loaded

    def can_use(self, adapter: str | None) -> bool:
        """Tell whether an adapter, or none, can act without the model being loaded again."""
        if adapter == self.current:
            return True
        return not self._is_full and not (adapter is not None and _is_full(adapter))

    def use(self, adapter: str | None) -> None:
        """Let one adapter act, or none.

        Raises:
            NotFoundError, FormatError, UnsupportedError: there is none, or it does not fit.
        """
        if adapter is not None and adapter not in self._names:
            self._names[adapter] = self._model.add_adapter(adapter)
        self.current = adapter
        self.scale(1.0)

    def scale(self, strength: float) -> None:
        """Let the adapter act this strongly from the next answer on."""
        weights = self._model.adapters
        for adapter, name in self._names.items():
            wanted = strength if adapter == self.current else 0.0
            if weights.get(name) != wanted:
                self._model.set_adapter(name, wanted)


def _is_full(adapter: str) -> bool:
    """Tell whether a directory holds a full fine-tune; loading one that cannot be read says what is wrong."""
    try:
        return read_json(Path(adapter) / "adapter_config.json").get("fine_tune_type") == "full"
    except EdgeLMError:
        return False
