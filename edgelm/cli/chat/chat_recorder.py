"""The chat loop's conversation among the saved chats, which the terminal app opens too.

A chat is a tree; the journal stands at one message, its tip, and what is said goes below it. A conversation that cannot be
saved goes on: the reason is said once, and the commands that need the tree refuse.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from edgelm.cli.show.output import warn
from edgelm.conversation.branching import Deletions
from edgelm.errors import EdgeLMError, NotFoundError, OptionError
from edgelm.store.saved_to_messages import saved_calls, turns
from edgelm.text.tools.tool import as_tools

if TYPE_CHECKING:
    from edgelm.runtime.events import Usage
    from edgelm.store.chat_schema import Attachment, Message, Session, State
from edgelm.store.chats import Chats


class Journal:
    """Writes turns down, and goes back to them.

    Args:
        model: its name, noted with the chat.
        session: a chat to go on with; None begins one with the first prompt.
    """

    def __init__(self, chats: Chats, model: str, session: Session | None = None) -> None:
        self.chats = chats
        self.model = model
        self.deletions = Deletions(chats)
        self._settings: dict[str, Any] = {}
        self._is_broken = False
        self._tip: int | None = None
        self.session: Session | None = None
        self.open(session)

    def open(self, session: Session | None) -> None:
        """Go to another chat, at its end; None begins a new one with the next prompt, with the same settings."""
        if session is None and self.session is not None:
            self._settings = self.settings
        self.session, self._is_broken = session, False
        self._tip = None
        if session is not None:
            self.go_to_end()

    @property
    def settings(self) -> dict[str, Any]:
        """Of the chat, as the app keeps them."""
        return dict(self.session.settings if self.session is not None else self._settings)

    @property
    def is_kept(self) -> bool:
        """Whether what is said stays when the process ends."""
        return self.chats.is_kept

    @property
    def is_broken(self) -> bool:
        """Whether something that was said could not be saved."""
        return self._is_broken

    @property
    def path(self) -> list[Message]:
        """From the first message to the one at which the chat stands.

        Raises:
            OptionError: what was said could not be saved.
        """
        if self._is_broken:
            raise OptionError(
                "this chat is not saved, so nothing in it can be gone back to", hint="/new begins another"
            )
        return [] if self._tip is None else self.chats.lineage(self._tip)

    @property
    def turns(self) -> list[dict[str, Any]]:
        """The path, as the runtime takes it."""
        return turns(self.path)

    def go_to(self, message_id: int | None) -> None:
        """Stand at a message, which is shown from now on; None is before the first."""
        if message_id is not None:
            self.chats.show(message_id)
        self._tip = message_id

    def go_to_end(self) -> None:
        """Stand at the end of what is shown."""
        path = self.chats.path(self.require().id)
        self._tip = path[-1].id if path else None

    def require(self) -> Session:
        """The chat.

        Raises:
            OptionError: nothing was said yet, or it could not be saved.
        """
        if self.session is None or self._is_broken:
            raise OptionError("this chat is not saved yet: it has no message")
        return self.session

    def keep(self, **settings: Any) -> None:
        """Note settings with the chat."""
        changed = {**self.settings, **settings}
        with self._saving():
            if self.session is None:
                self._settings = changed
            else:
                self.chats.set_settings(self.session.id, changed)
                self.session = self.chats.session(self.session.id)

    def say(self, text: str, files: Iterable[Attachment] = ()) -> Message | None:
        """Write a prompt down; None if it cannot be."""
        if self._is_broken:
            return None
        with self._saving():
            if self.session is None:
                self.session = self.chats.create(model=self.model, settings=self._settings)
            made = self.chats.add(self.session.id, self._tip, "user", text, attachments=files)
            self.chats.name_after(self.session.id, text or next((file.name for file in made.attachments), ""))
            self._tip = made.id
            return made
        return None

    def times_answered(self, prompt: Message, adapter: str | None, under: Mapping[str, Any]) -> int:
        """How often the model has answered a prompt to the end under `under`; 0 for one that is not written down."""
        if not prompt.id:
            return 0
        return self.chats.answers(prompt.id, model=self.model, adapter=adapter, under=under)

    def hear(
        self,
        prompt: Message,
        answers: Sequence[Mapping[str, Any]],
        state: State,
        *,
        usage: Usage | None = None,
        adapter: str | None = None,
        made_under: Mapping[str, Any] | None = None,
    ) -> None:
        """Write down what was said to a prompt: answers and results of tools, the last in `state`.

        `made_under` is what shaped the answers: system prompt, thinking, tools.
        """
        with self._saving():
            at = prompt.id
            for said in answers or ({"role": "assistant", "content": ""},):
                is_answer = said["role"] == "assistant"
                at = self.chats.add(
                    prompt.session_id,
                    at,
                    said["role"],
                    said["content"] or "",
                    model=self.model if is_answer else None,
                    adapter=adapter if is_answer else None,
                    thinking=said.get("reasoning_content", ""),
                    tool_calls=saved_calls(said),
                    made_under=made_under if is_answer else None,
                ).id
            self.chats.finish(at, state, usage=dataclasses.asdict(usage) if usage else None)
            self.chats.set_model(prompt.session_id, self.model)
            self._tip = at

    @contextmanager
    def _saving(self) -> Iterator[None]:
        try:
            yield
        except EdgeLMError as error:
            if not self._is_broken:
                warn(f"the chat is not saved: {error.message}")
            self._is_broken = True


def shaping(chat: Any) -> dict[str, Any]:
    """What shapes the answers of a conversation (`edgelm.runtime.chat.chat.Chat`), to be kept with them."""
    known = getattr(chat, "tools", ())
    found = known.values() if isinstance(known, Mapping) else known
    tools = [tool.definition for tool in as_tools(found).values()]
    return {"system": chat.system or "", "thinking": chat.enable_thinking, "tools": tools or None}


def find_session(chats: Chats, wanted: str) -> Session:
    """The chat with the number `wanted`, or the latest if that is "".

    Raises:
        NotFoundError: there is none.
    """
    if wanted:
        if not wanted.isdecimal():
            raise NotFoundError(
                f"{wanted!r} is no chat, expected a number", hint="edgelm chats lists them, /sessions too"
            )
        return chats.session(int(wanted))
    latest = chats.latest()
    if latest is None:
        raise NotFoundError("no chat is saved yet", hint="edgelm chat begins one")
    return latest
