"""What can be done with one message: copy, edit, answer again, branch, rate, correct, continue, delete."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from edgelm.conversation.branching import beside, prompt_of
from edgelm.conversation.feedback import rate
from edgelm.conversation.settings import AGAIN_TEMPERATURE
from edgelm_tui.markdown.blocks import code_blocks
from edgelm_tui.screens.chat.open_chat import OpenChat
from edgelm_tui.screens.chat.transcript.view import MessageView


class MessageActions:
    """Does things to the messages of an open chat."""

    def __init__(self, chat: OpenChat) -> None:
        self._chat = chat
        self._actions: dict[str, Callable[[MessageView, int], Awaitable[None] | None]] = {
            "copy": self._copy,
            "code": self._copy_code,
            "edit": self._edit,
            "regenerate": self._regenerate,
            "branch": self._branch,
            "continue": self._continue,
            "sibling": self._sibling,
            "rate": self._rate,
            "correct": self._correct,
            "delete": self._delete,
            "toggle": self._toggle,
            "move": self._step,
        }

    async def act_on_target(self, action: str, argument: int = 0) -> bool:
        """Do something to the message that is meant; False where there is none."""
        view = self._chat.target()
        if view is None:
            self._warn("there is no message yet")
            return False
        await self.act_on(view, action, argument)
        return True

    async def act_on(self, view: MessageView, action: str, argument: int) -> None:
        """Do `action` to a message; what fails is said."""
        if action != "delete":
            self._chat.disarm()
        with self._chat.services.notices.reporting():
            result = self._actions[action](view, argument)
            if result is not None:
                await result

    async def edit_last_prompt(self) -> None:
        """Change what was asked last, and ask again."""
        asked = [view for view in self._chat.transcript.views if view.message.role == "user"]
        if asked:
            await self.act_on(asked[-1], "edit", 0)

    def _say(self, text: str) -> None:
        self._chat.screen.notify(text)

    def _warn(self, text: str) -> None:
        self._chat.screen.notify(text, severity="warning")

    def _copy(self, view: MessageView, _: int) -> None:
        self._chat.services.navigation.copy(view.message.content)
        self._say("copied")

    def _copy_code(self, view: MessageView, number: int) -> None:
        blocks = code_blocks(view.message.content)
        if 1 <= number <= len(blocks):
            self._chat.services.navigation.copy(blocks[number - 1])
            self._say(f"code block {number} copied")
        else:
            self._warn(f"there is no code block {number}, the message has {len(blocks)}")

    def _edit(self, view: MessageView, argument: int) -> None:
        if view.message.role == "assistant":
            self._correct(view, argument)
            return
        from edgelm_tui.shell.dialogs.questions import AskText

        message, services = view.message, self._chat.services

        def ask(text: str) -> None:
            question = "Edit, and ask again; the old version stays as an alternative"
            self._chat.screen.app.push_screen(AskText(question, text), take)

        async def take(text: str | None) -> None:
            if text is None or not text.strip():
                return
            if not self._may_ask():
                ask(text)  # what was written is not lost
                return
            with services.notices.reporting():
                prompt = services.asker.say(message.session_id, message.parent_id, text, message.attachments)
                services.desk.ask(services.asker.ask(prompt))
                await self._show(self._heir(view, prompt.id))

        ask(message.content)

    def _correct(self, view: MessageView, _: int) -> None:
        message, chat = view.message, self._chat
        if message.role == "user":
            self._warn("only an answer can be corrected; e edits a prompt")
            return
        from edgelm_tui.shell.dialogs.questions import AskText

        async def take(text: str | None) -> None:
            if text is None or not text.strip() or text == message.content:
                return
            with chat.services.notices.reporting():
                better = chat.chats.correct(message.id, text)
                await chat.reload(self._heir(view, better.id))
                self._say("kept as the better answer: it trains the model, and is preferred to the old one")

        chat.screen.app.push_screen(AskText("Write the answer as it should have been", message.content), take)

    async def _regenerate(self, view: MessageView, _: int) -> None:
        if not self._may_ask():
            return
        prompt = prompt_of(self._chat.chats, view.message)
        if prompt is not None:
            services = self._chat.services
            asked = services.asker.ask(prompt)
            services.desk.ask(asked)
            if asked.is_drawn:
                self._say(
                    f"drawn at temperature {AGAIN_TEMPERATURE}: the likeliest answer is the one you have"
                )
            await self._show(self._heir(view, asked.answer.id))

    async def _continue(self, view: MessageView, _: int) -> None:
        message = view.message
        if not message.is_cut:
            self._warn("this answer is whole; r answers again")
        elif not message.content.strip():
            await self._regenerate(view, 0)
        elif self._may_ask():
            services = self._chat.services
            services.desk.ask(services.asker.go_on(message))
            await self._show()

    async def _branch(self, view: MessageView, _: int) -> None:
        branch = self._chat.chats.branch(view.message.id)
        await self._chat.services.navigation.open_chat(branch.id)
        self._say("a new chat that begins like the other one")

    async def _sibling(self, view: MessageView, by: int) -> None:
        shown = beside(self._chat.chats, view.message.id, by)
        self._chat.chats.show(shown)
        await self._chat.reload(shown)

    async def _rate(self, view: MessageView, rating: int) -> None:
        rate(self._chat.chats, self._chat.chats.message(view.message.id), rating)
        await self._chat.reload()

    async def _delete(self, view: MessageView, at_once: int) -> None:
        message, chat = view.message, self._chat
        warning = "x again deletes this message and what follows it"
        if not at_once and not chat.armed(("message", message.id), warning):
            return
        current = chat.services.desk.current
        if current is not None and message.id in {
            above.id for above in chat.chats.lineage(current.message_id)
        }:
            chat.services.waiting.stop_answer()
        chat.conversation.deletions.message(message.id)
        await chat.reload()
        self._say("deleted; /undo brings it back")
        if not chat.transcript.views:
            chat.screen.set_focus(chat.prompt)

    def _toggle(self, view: MessageView, _: int) -> None:
        view.show(replace(view.turn, is_open=not view.turn.is_open))

    def _step(self, view: MessageView, by: int) -> None:
        views = self._chat.transcript.views
        at = (views.index(view) if view in views else len(views)) + by
        if at >= len(views):
            self._chat.screen.set_focus(self._chat.prompt)
        elif at >= 0:
            self._chat.screen.set_focus(views[at])

    async def _show(self, focus: int | None = None) -> None:
        await self._chat.reload(focus)
        self._chat.transcript.follow()

    def _heir(self, view: MessageView, message_id: int) -> int | None:
        """The message that takes the place of `view`, if that has the focus: from the prompt, one goes on writing."""
        return message_id if self._chat.screen.focused is view else None

    def _may_ask(self) -> bool:
        """Whether a question can be put now."""
        services = self._chat.services
        if services.desk.busy:
            self._warn("an answer is under way; Esc stops it")
        elif services.state.model is not None:
            return True
        elif services.state.loading or self._chat.load_again():
            self._warn(f"{services.state.loading} is being loaded; ask again when it is there")
        else:
            self._warn("no model is loaded; Ctrl+L chooses one")
        return False
