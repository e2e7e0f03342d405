"""What can be done with one message: copy, edit, answer again, branch, rate, correct, continue, delete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from edgelm.conversation.branching import beside, prompt_of, rate
from edgelm_tui.markdown.blocks import code_blocks
from edgelm_tui.screens.chat.base import ChatBase
from edgelm_tui.screens.chat.transcript.view import MessageView
from edgelm_tui.settings import AGAIN_TEMPERATURE


class MessageActions(ChatBase):
    """A part of the chat screen."""

    async def on_message_view_act(self, event: MessageView.Act) -> None:
        """A key, a click, or the palette."""
        event.stop()
        await self.act_on(event.view, event.action, event.argument)

    async def action_message(self, action: str, argument: int = 0) -> bool:
        """Do something to the message that is meant; False where there is none."""
        view = self.target()
        if view is None:
            self.notify("there is no message yet", severity="warning")
            return False
        await self.act_on(view, action, argument)
        return True

    async def act_on(self, view: MessageView, action: str, argument: int) -> None:
        """Do `action`; what fails is said."""
        actions: dict[str, Callable[[MessageView, int], Any]] = {
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
        if action != "delete":
            self.disarm()
        with self.edgelm.reporting():
            result = actions[action](view, argument)
            if result is not None:
                await result

    def _copy(self, view: MessageView, _: int) -> None:
        self.edgelm.copy(view.message.content)
        self.notify("copied")

    def _copy_code(self, view: MessageView, number: int) -> None:
        blocks = code_blocks(view.message.content)
        if 1 <= number <= len(blocks):
            self.edgelm.copy(blocks[number - 1])
            self.notify(f"code block {number} copied")
        else:
            self.notify(f"there is no code block {number}, the message has {len(blocks)}", severity="warning")

    def _edit(self, view: MessageView, argument: int) -> None:
        if view.message.role == "assistant":
            self._correct(view, argument)
            return
        from edgelm_tui.shell.dialogs.questions import AskText

        message = view.message

        def ask(text: str) -> None:
            question = "Edit, and ask again; the old version stays as an alternative"
            self.app.push_screen(AskText(question, text), take)

        async def take(text: str | None) -> None:
            if text is None or not text.strip():
                return
            if not self._may_ask():
                ask(text)  # what was written is not lost
                return
            with self.edgelm.reporting():
                answer = self.sender.send(message.session_id, message.parent_id, text, message.attachments)
                await self.reload(self._heir(view, self.chats.message(answer.message_id).parent_id))
                self.transcript.follow()

        ask(message.content)

    async def edit_last_prompt(self) -> None:
        """Change what was asked last, and ask again."""
        asked = [view for view in self.transcript.views if view.message.role == "user"]
        if asked:
            await self.act_on(asked[-1], "edit", 0)

    def _correct(self, view: MessageView, _: int) -> None:
        message = view.message
        if message.role == "user":
            self.notify("only an answer can be corrected; e edits a prompt", severity="warning")
            return
        from edgelm_tui.shell.dialogs.questions import AskText

        async def take(text: str | None) -> None:
            if text is None or not text.strip() or text == message.content:
                return
            with self.edgelm.reporting():
                better = self.chats.correct(message.id, text)
                await self.reload(self._heir(view, better.id))
                self.notify("kept as the better answer: it trains the model, and is preferred to the old one")

        self.app.push_screen(AskText("Write the answer as it should have been", message.content), take)

    async def _regenerate(self, view: MessageView, _: int) -> None:
        message = view.message
        if not self._may_ask():
            return
        asked = prompt_of(self.chats, message)
        if asked is not None:
            answer, is_drawn = self.sender.again(asked)
            if is_drawn:
                self.notify(
                    f"drawn at temperature {AGAIN_TEMPERATURE}: the likeliest answer is the one you have"
                )
            await self.reload(self._heir(view, answer.message_id))
            self.transcript.follow()

    async def _continue(self, view: MessageView, _: int) -> None:
        message = view.message
        if not message.is_cut:
            self.notify("this answer is whole; r answers again", severity="warning")
        elif self._may_ask():
            if message.content.strip():
                self.sender.go_on(message)
                await self.reload()
                self.transcript.follow()
            else:
                await self._regenerate(view, 0)

    async def _branch(self, view: MessageView, _: int) -> None:
        made = self.chats.branch(view.message.id)
        await self.edgelm.open_chat(made.id)
        self.notify("a new chat that begins like the other one")

    async def _sibling(self, view: MessageView, by: int) -> None:
        shown = beside(self.chats, view.message.id, by)
        self.chats.show(shown)
        await self.reload(shown)

    async def _rate(self, view: MessageView, rating: int) -> None:
        rate(self.chats, self.chats.message(view.message.id), rating)
        await self.reload()

    async def _delete(self, view: MessageView, at_once: int) -> None:
        message = view.message
        if not at_once and not self.armed(
            ("message", message.id), "x again deletes this message and what follows it"
        ):
            return
        if (
            self.is_mine
            and self.desk.current is not None
            and any(above.id == message.id for above in self.chats.lineage(self.desk.current.message_id))
        ):
            self.edgelm.stop_answer()
        self.deletions.message(message.id)
        await self.reload()
        self.notify("deleted; /undo brings it back")
        if not self.transcript.views:
            self.set_focus(self.prompt)

    def _toggle(self, view: MessageView, _: int) -> None:
        view.show(replace(view.turn, is_open=not view.turn.is_open))

    def _step(self, view: MessageView, by: int) -> None:
        views = self.transcript.views
        at = (views.index(view) if view in views else len(views)) + by
        if at >= len(views):
            self.set_focus(self.prompt)
        elif at >= 0:
            self.set_focus(views[at])

    def _heir(self, view: MessageView, message_id: int | None) -> int | None:
        """The message that takes the place of `view`, if that has the focus: from the prompt, one goes on writing."""
        return message_id if self.focused is view else None

    def _may_ask(self) -> bool:
        """Whether a question can be put now."""
        if self.desk.busy:
            self.notify("an answer is under way; Esc stops it", severity="warning")
            return False
        if self.edgelm.state.model is None:
            if self.edgelm.state.loading or self.load_again():
                self.notify(
                    f"{self.edgelm.state.loading} is being loaded; ask again when it is there",
                    severity="warning",
                )
            else:
                self.notify("no model is loaded; Ctrl+L chooses one", severity="warning")
            return False
        return True
