"""Asks for answers in any saved chat, shown or not: writes the prompt down, begins the answer, and says what to ask.

    asked = asker.ask(asker.say(session_id, parent_id, "Why is the sky blue?"))
    record = AnswerRecord(chats, asked.answer)
    for event in answer_events(model, asked.question): record.hear(event)

Who asks puts the question to a model. Knows no engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edgelm.conversation.question import Question
from edgelm.conversation.settings import ChatSettings
from edgelm.errors import NotFoundError
from edgelm.store.chat_schema import Attachment, Message
from edgelm.store.chats import Chats
from edgelm.store.saved_to_messages import turns


class ModelInUse(Protocol):
    """What an answer is saved with."""

    @property
    def name(self) -> str:
        """The model's name."""

    @property
    def adapter(self) -> str | None:
        """The adapters that act."""

    @property
    def is_greedy(self) -> bool:
        """Whether it takes the likeliest token where nothing else is said."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A message in the state `writing`, and the question whose answer it is to hold.

    Attributes:
        is_drawn: whether the answer is drawn at another temperature than the chat's, to be another one.
    """

    answer: Message
    question: Question
    is_drawn: bool = False


class Asker:
    """Begins answers in saved chats.

    Args:
        defaults: the settings of a chat that says nothing of its own.
        model: the model in use; None while there is none.
        tools: definitions of the functions that the model may call.
    """

    def __init__(
        self,
        chats: Chats,
        defaults: Callable[[], ChatSettings],
        model: Callable[[], ModelInUse | None],
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self._chats = chats
        self._defaults = defaults
        self._model = model
        self._tools = list(tools)

    def settings_of(self, session_id: int) -> ChatSettings:
        """Read what a chat says over the defaults.

        Raises:
            NotFoundError: the chat is gone.
        """
        return ChatSettings.over(self._defaults(), self._chats.session(session_id).settings)

    def say(
        self,
        session_id: int,
        parent_id: int | None,
        text: str,
        attachments: Iterable[Attachment] = (),
        *,
        queued_id: int | None = None,
    ) -> Message:
        """Write a prompt down below `parent_id`; a chat without a title is named after it.

        Args:
            queued_id: the waiting prompt that this is, which waits no more then.

        Raises:
            NotFoundError: that prompt waits no more.
        """
        prompt = self._chats.add(
            session_id, parent_id, "user", text, attachments=attachments, queued_id=queued_id
        )
        self._chats.name_after(session_id, text or next((file.name for file in prompt.attachments), ""))
        return prompt

    def ask(self, prompt: Message, settings: ChatSettings | None = None) -> Asked:
        """Begin the answer to a prompt. One that was answered alike is to get another answer, which may have to be drawn.

        Args:
            settings: those that count instead of the chat's.
        """
        name, adapter, is_greedy = self._in_use()
        settings = settings or self.settings_of(prompt.session_id)
        under = {**settings.conditions(), "tools": self._tools or None}
        times = self._chats.answers(prompt.id, model=name, adapter=adapter, under=under)
        drawn = settings.again(times, is_greedy=is_greedy) if times else settings
        answer = self._chats.add(
            prompt.session_id,
            prompt.id,
            "assistant",
            "",
            state="writing",
            model=name,
            adapter=adapter,
            made_under=under,
        )
        self._chats.set_model(prompt.session_id, name)
        is_drawn = drawn.sampling.get("temperature") != settings.sampling.get("temperature")
        return Asked(answer, self._question(prompt, drawn), is_drawn)

    def go_on(self, cut: Message, settings: ChatSettings | None = None) -> Asked:
        """Begin to continue an answer that was cut, under the system prompt that it was begun under."""
        self._chats.resume(cut.id)
        settings = settings or self.settings_of(cut.session_id)
        system = cut.made_under.get("system", settings.system)
        return Asked(
            self._chats.message(cut.id), self._question(cut, settings, system=system, continues=True)
        )

    def next_queued(self, session_id: int) -> Asked | None:
        """Take the next prompt that waits in a chat and begin its answer; None if none does, or the chat is deleted."""
        if not self._chats.is_there(session_id):
            return None
        for waiting in self._chats.queued(session_id):
            path = self._chats.path(session_id)
            parent = path[-1].id if path else None
            try:
                prompt = self.say(session_id, parent, waiting.text, waiting.attachments, queued_id=waiting.id)
            except NotFoundError:  # another process was faster
                continue
            return self.ask(prompt)
        return None

    def _in_use(self) -> tuple[str | None, str | None, bool]:
        model = self._model()
        return (None, None, True) if model is None else (model.name, model.adapter, model.is_greedy)

    def _question(
        self, last: Message, settings: ChatSettings, *, system: str | None = None, continues: bool = False
    ) -> Question:
        return Question(
            messages=tuple(turns(self._chats.lineage(last.id))),
            system=settings.system if system is None else system,
            generation=settings.generation(),
            thinking=settings.thinking,
            schema=settings.schema,
            adapter_scale=settings.adapter_scale,
            continues=continues,
        )
