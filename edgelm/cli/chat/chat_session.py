"""The model of a chat loop and the conversation with it; the model can be changed in mid-chat. Knows no command."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from edgelm.cli.show.output import warn
from edgelm.conversation.model import ChatModel, ModelChat
from edgelm.conversation.question import Question, answer_events, longest_answer
from edgelm.errors import EdgeLMError, NotFoundError

if TYPE_CHECKING:
    from edgelm.runtime.chat.tool_loop import Approve, ToolEvent
    from edgelm.text.tools.tool import Tool

Messages = Sequence[Mapping[str, Any]]
"""Turns of role and content, without the system prompt."""


class ChatSession:
    """One conversation with one model after the other.

    Args:
        load: makes a model of a name.
        name: the first model's.
        thinking: whether the model is to think before it answers; None is as it does by itself.
        settings: of all answers, as the command line gives them; a question may say otherwise.
        tools: functions that the model may call.
        approve: asked before each call.
    """

    def __init__(
        self,
        load: Callable[[str], ChatModel],
        name: str,
        *,
        system: str | None = None,
        thinking: bool | None = None,
        settings: Mapping[str, Any] | None = None,
        tools: Iterable[Tool] = (),
        approve: Approve | None = None,
    ) -> None:
        self._load, self._loaded = load, name
        self._settings, self.tools, self._approve = dict(settings or {}), list(tools), approve
        self.model = load(name)
        self.chat = self._begin(system, thinking, ())
        if thinking is not None and not self.chat.can_think:
            warn(f"{self.model.name} has no thinking to switch")

    def close(self) -> None:
        """Let the model go."""
        self.model.close()

    @property
    def name(self) -> str:
        """The name of the model in use."""
        return self.model.name

    @property
    def adapter(self) -> str | None:
        """The adapters that act, joined by plus signs."""
        return " + ".join(name for name, weight in self.model.adapters.items() if weight) or None

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is taken where a chat says nothing else."""
        return self.chat.options.changed(**self._settings).sampling.is_greedy

    def ask(self, question: Question) -> Generator[ToolEvent, None, None]:
        """Put a question, after the turns that stand in it; closing the events stops the model."""
        if question.continues:
            settings = {"max_tokens": longest_answer(self.model), **self._over_flags(question.settings())}
            return answer_events(self.model, question, **settings)
        *earlier, last = question.messages
        self.go_to(earlier)
        self.chat.system, self.chat.enable_thinking = question.system or None, question.thinking
        return self.say(last["content"], question.settings())

    def say(self, text: str, settings: Mapping[str, Any]) -> Generator[ToolEvent, None, None]:
        """Say something after what was said last, with settings over those of the command line."""
        settings = self._over_flags(settings)
        if self.tools:
            return self.chat.tool_events(text, approve=self._approve, **settings)
        return self.chat.events(text, **settings)

    def _over_flags(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        passed_over = {"greedy"} if "temperature" in settings else set()
        both = {**self._settings, **settings}
        return {name: value for name, value in both.items() if name not in passed_over}

    def go_to(self, messages: Messages) -> None:
        """Let the conversation stand after other turns; one that stands there already keeps what it has computed."""
        if [_words(turn) for turn in messages] != [_words(turn) for turn in self.chat.messages]:
            self.chat.replace(messages)

    def last_results(self) -> list[str]:
        """List what the calls of the last reply came to; those that were not run are among them."""
        results = takewhile(lambda message: message["role"] == "tool", reversed(self.chat.messages))
        return [message["content"] for message in results][::-1]

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
            self._loaded = name
        except (EdgeLMError, KeyboardInterrupt):
            self.model = self._load(self._loaded)
            raise
        finally:
            self.chat = self._begin(self.chat.system, self.chat.enable_thinking, self.chat.messages)

    def weigh_adapter(self, name: str, weight: float) -> None:
        """Let an adapter act with `weight` from the next answer on; one that is not on the model yet is put on it.

        Raises:
            NotFoundError, FormatError, UnsupportedError: there is none, or it does not fit.
        """
        try:
            self.model.set_adapter(name, weight)
        except NotFoundError:
            self.model.add_adapter(name, weight)

    def _begin(self, system: str | None, thinking: bool | None, messages: Messages) -> ModelChat:
        return self.model.chat(system=system, enable_thinking=thinking, tools=self.tools, messages=messages)


def _words(turn: Mapping[str, Any]) -> tuple[Any, Any]:
    return turn["role"], turn["content"]
