"""The model of a chat loop and the conversation with it; the model can be changed in mid-chat. Knows no command."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgelm.errors import EdgeLMError, OptionError
from edgelm.runtime.chat.tool_loop import ToolEvent

Turns = Sequence[Mapping[str, Any]]
Ask = Callable[..., Generator[ToolEvent, None, None]]
"""Sends a prompt, with settings of this answer, and yields its events; closing it keeps what was said so far."""
Begin = Callable[[Any, str | None, Turns], tuple[Any, Ask]]


class Talker:
    """One conversation.

    Args:
        load: makes a model (`edgelm.api.Model`) of a name.
        begin: a conversation (`edgelm.runtime.chat.chat.Chat`) with a model, a system prompt and earlier turns, and how it is
            asked.
        name: the first model's.
    """

    def __init__(
        self,
        load: Callable[[str], Any],
        begin: Begin,
        name: str,
        *,
        system: str | None = None,
        earlier: Turns = (),
    ) -> None:
        self._load, self._begin, self._name = load, begin, name
        self.model = load(name)
        self.chat, self.ask = begin(self.model, system, earlier)

    def close(self) -> None:
        """Let the model go."""
        self.model.close()

    def change_model(self, name: str) -> None:
        """Go on with another model; the one before is let go first, and comes back if the other cannot be loaded.

        Ctrl-C while the other loads brings the one before back too; while that one loads, it leaves.

        Raises:
            NotFoundError, FitError, ...: as `edgelm.load`.
        """
        from edgelm.api import find_model
        from edgelm.progress import ignore_progress

        find_model(name, ignore_progress)
        self.model.close()
        try:
            self.model = self._load(name)
            self._name = name
        except (EdgeLMError, KeyboardInterrupt):
            self.model = self._load(self._name)
            raise
        finally:
            thinks = self.chat.enable_thinking
            self.chat, self.ask = self._begin(self.model, self.chat.system, self.chat.messages)
            self.chat.enable_thinking = thinks

    def go_on(self, turns: Turns, settings: Mapping[str, Any]) -> Generator[ToolEvent, None, None]:
        """Go on with the last of `turns`, an answer that was cut."""
        from edgelm_tui.engine.answering import answer
        from edgelm_tui.engine.events import Question

        said = tuple(dict(turn) for turn in turns)
        yield from answer(
            self.model,
            Question(
                said,
                self.chat.system or "",
                dict(settings),
                thinking=self.chat.enable_thinking,
                continues=True,
            ),
        )

    @property
    def adapters(self) -> dict[str, float]:
        """Weights by name; of a model that takes none, nothing."""
        return dict(getattr(self.model, "adapters", {}))

    @property
    def adapter_name(self) -> str | None:
        """Those that act."""
        return " + ".join(name for name, weight in self.adapters.items() if weight) or None

    def weigh_adapter(self, name: str, weight: float) -> None:
        """Let an adapter act with `weight` from the next answer on; one that is not on the model yet is put on it.

        Raises:
            NotFoundError, FormatError, UnsupportedError: there is none, or it does not fit.
        """
        if not hasattr(self.model, "set_adapter"):
            raise OptionError(f"{self.model.name} takes no adapters")
        known = Path(name).name
        if known in self.adapters:
            self.model.set_adapter(known, weight)
        else:
            self.model.add_adapter(name, weight)
