"""Sends prompts and asks for answers in any chat, shown or not. Knows the saved chats and the engine, no widget."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from edgelm.store.chat_schema import Attachment, Message
from edgelm.store.chats import Chats
from edgelm.store.saved_to_messages import turns
from edgelm_tui.engine.answer_desk import Answer, AnswerDesk
from edgelm_tui.engine.events import Loaded, Question
from edgelm_tui.settings import ChatSettings


class Sender:
    """Turns prompts into questions.

    Args:
        defaults: the settings of a chat that says nothing of its own.
        model: the model that is loaded.
    """

    def __init__(
        self,
        chats: Chats,
        desk: AnswerDesk,
        defaults: Callable[[], ChatSettings],
        model: Callable[[], Loaded | None],
    ) -> None:
        self._chats = chats
        self._desk = desk
        self._defaults = defaults
        self._model = model

    def settings_of(self, session_id: int) -> ChatSettings:
        """What a chat says over the defaults."""
        return ChatSettings.over(self._defaults(), self._chats.session(session_id).settings)

    def send(
        self, session_id: int, parent_id: int | None, text: str, attachments: Iterable[Attachment] = ()
    ) -> Answer:
        """Add a prompt below `parent_id` and ask for its answer."""
        question = self._chats.add(session_id, parent_id, "user", text, attachments=attachments)
        self._chats.name_after(session_id, text or next((file.name for file in question.attachments), ""))
        return self.answer(question)

    def again(self, prompt: Message) -> tuple[Answer, bool]:
        """Ask for another answer to a prompt, which is to be another one; whether it is drawn where the others were not."""
        settings = self.settings_of(prompt.session_id)
        model = self._model()
        name, adapter = (model.name, model.adapter) if model else (None, None)
        times = self._chats.answers(prompt.id, model=name, adapter=adapter, under=settings.conditions())
        is_greedy = model.is_greedy if model is not None else True
        other = settings.again(times, is_greedy=is_greedy) if times else settings
        return self.answer(prompt, drawn_with=other), other.temperature != settings.temperature

    def answer(self, prompt: Message, *, drawn_with: ChatSettings | None = None) -> Answer:
        """Ask for an answer to a prompt, with the chat's settings, or drawn with others."""
        model = self._model()
        name, adapter = (model.name, model.adapter) if model else (None, None)
        settings = self.settings_of(prompt.session_id)
        made = self._chats.add(
            prompt.session_id,
            prompt.id,
            "assistant",
            "",
            state="writing",
            model=name,
            adapter=adapter,
            made_under=settings.conditions(),
        )
        self._chats.set_model(prompt.session_id, name)
        return self._desk.ask(made, self._question(prompt, drawn_with or settings))

    def go_on(self, cut: Message) -> Answer:
        """Let the model continue an answer that was cut."""
        self._chats.resume(cut.id)
        return self._desk.ask(self._chats.message(cut.id), self._question(cut, None, continues=True))

    def send_queued(self, session_id: int) -> Answer | None:
        """Send the next prompt that waits; None if none does."""
        for item in self._chats.queued(session_id):
            if self._chats.unqueue(item.id):
                path = self._chats.path(session_id)
                return self.send(session_id, path[-1].id if path else None, item.text, item.attachments)
        return None

    def _question(self, last: Message, settings: ChatSettings | None, *, continues: bool = False) -> Question:
        settings = settings or self.settings_of(last.session_id)
        return Question(
            messages=tuple(turns(self._chats.lineage(last.id))),
            # An answer goes on under what it was begun under.
            system=last.made_under.get("system", settings.system) if continues else settings.system,
            generation=settings.generation(),
            thinking=settings.thinking,
            schema=settings.schema,
            adapter_scale=settings.adapter_scale,
            continues=continues,
        )
