"""Sends what is typed and attached: at once, or when the model is there and answers nothing else."""

from __future__ import annotations

import time

from textual.app import SuspendNotSupported

from edgelm.conversation.attachments import files_in, files_named
from edgelm_tui.screens.chat.open_chat import OpenChat
from edgelm_tui.screens.chat.prompt.editor import edit_text
from edgelm_tui.screens.chat.prompt.waiting import WaitingChip

_DRAFT_S = 0.5
"""Seconds from the last letter until the draft is kept."""


class Composer:
    """What becomes of the text in the prompt of an open chat."""

    def __init__(self, chat: OpenChat) -> None:
        self._chat = chat
        self._draft_at: float | None = None
        self._warned_of: str | None = None
        """A prompt that names files which cannot be attached: sent if Enter is pressed again."""

    def keep_soon(self) -> None:
        """Keep the draft, once nothing more is typed for a moment."""
        self._draft_at = time.monotonic() + _DRAFT_S

    def tick(self) -> None:
        """Keep the draft if it is time."""
        if self._draft_at is not None and time.monotonic() >= self._draft_at:
            self._draft_at = None
            with self._chat.services.notices.reporting():
                self._chat.save_draft()

    async def send(self, text: str) -> None:
        """Send a prompt with what is attached, or put it behind those that wait; without either, send the next of those.

        Raises:
            OutputError: the chat cannot be written; nothing was sent.
        """
        chat, services = self._chat, self._chat.services
        conversation = chat.conversation
        await chat.leave_if_deleted()
        if not text.strip() and not conversation.attachments:
            await self._send_waiting()
            return
        named, problems = files_in(text)
        if problems and text != self._warned_of:
            self._warned_of = text
            lines = [*problems, "nothing was sent; Enter again sends it as text"]
            chat.screen.notify("\n".join(lines), severity="warning")
            return
        self._warned_of = None
        if services.state.model is None and not services.state.loading and not chat.load_again():
            chat.screen.notify("no model is loaded yet; Ctrl+L chooses one", severity="warning")
            return
        if services.state.model is not None and services.state.problem:
            services.state.problem = None
            services.changed()
        files = [*conversation.attachments, *named]
        session_id = conversation.ensure_saved()
        services.models.use_adapter(chat.settings.adapter)
        if services.desk.busy or services.state.loading:
            chat.chats.queue(session_id, text, files)
            services.waiting.send_when_free(session_id)
        else:
            prompt = services.asker.say(session_id, conversation.tip, text, files)
            services.desk.ask(services.asker.ask(prompt))
        conversation.forget_attachments()
        self.clear()
        chat.prompt.remember(text)
        await chat.transcript.clear_notices()
        await self._show_sent()

    async def _send_waiting(self) -> None:
        chat, services = self._chat, self._chat.services
        if chat.session_id is None or services.desk.busy:
            return
        if services.state.model is None:
            if chat.chats.queued(chat.session_id) and (services.state.loading or chat.load_again()):
                services.waiting.send_when_free(chat.session_id)
            return
        if (asked := services.asker.next_queued(chat.session_id)) is not None:
            services.desk.ask(asked)
            await self._show_sent()

    async def _show_sent(self) -> None:
        await self._chat.reload()
        self._chat.transcript.follow()

    def clear(self) -> None:
        """Empty the prompt and forget its draft."""
        self._chat.prompt.say("")
        self._chat.prompt.forget_place()
        self._draft_at = None
        self._chat.conversation.save_text("")

    async def attach_named(self, names: str) -> None:
        """Attach the files that `/attach` names.

        Raises:
            OptionError: none is named, there is none, or it is no text, or too large.
        """
        self._chat.conversation.attach(files_named(names))
        await self._attached()

    async def attach_text(self, text: str) -> None:
        """Attach a long paste."""
        self._chat.conversation.attach_text(text)
        await self._attached()

    async def _attached(self) -> None:
        self.keep_soon()
        await self._chat.show_waiting()

    async def drop(self, chip: WaitingChip) -> None:
        """Take away an attachment, or a waiting prompt, which comes back below what is typed."""
        chat = self._chat
        with chat.services.notices.reporting():
            if chip.file is not None:
                chat.conversation.detach(chip.file)
            elif chip.queued_id is not None and chat.session_id is not None:
                waiting = {queued.id: queued for queued in chat.chats.queued(chat.session_id)}
                queued = waiting.get(chip.queued_id)
                if queued is not None and chat.chats.unqueue(queued.id):
                    chat.conversation.attach(queued.attachments)
                    chat.prompt.say("\n\n".join(filter(str.strip, (chat.prompt.text, queued.text))))
            await self._attached()

    def edit(self) -> None:
        """Write the prompt in $EDITOR."""
        chat = self._chat
        with chat.services.notices.reporting():
            try:
                with chat.screen.app.suspend():
                    text = edit_text(chat.prompt.text)
            except SuspendNotSupported:
                chat.screen.notify("an editor cannot be opened from here", severity="warning")
                return
            chat.prompt.say(text)
