"""The conversation: chats beside it, messages above, the prompt below, and one line that says how it goes."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import ClassVar

from textual.app import ComposeResult, SuspendNotSupported
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, OptionList, Static

from edgelm.conversation.attachments import files_in
from edgelm.conversation.commands import COMMANDS, is_command, parse, unknown_command
from edgelm.store.prompts import recent_prompts
from edgelm_tui.engine.answer_desk import Answer
from edgelm_tui.screens.chat.meter import Count, meter
from edgelm_tui.screens.chat.prompt.completion import Completions
from edgelm_tui.screens.chat.prompt.editor import edit_text
from edgelm_tui.screens.chat.prompt.prompt import Prompt
from edgelm_tui.screens.chat.prompt.waiting import Chip, Waiting
from edgelm_tui.screens.chat.sidebar import Sidebar
from edgelm_tui.screens.chat.slash import SlashCommands
from edgelm_tui.screens.chat.transcript.transcript import Transcript
from edgelm_tui.screens.chat.welcome import Welcome
from edgelm_tui.shell.text.plain import plain

_DRAFT_S = 0.5
_ELSEWHERE_S = 2.0
_PAINT_SHARE = 3
"""Of the time, laying out a growing answer may take one part in so many."""


class ChatScreen(SlashCommands):
    """One conversation at a time."""

    HELP_TEXT = """\
Enter sends, Ctrl+J starts a new line (Shift+Enter too, where the terminal tells it from Enter). Esc stops an answer \
(what came is kept), and otherwise goes back to the prompt. Prompts sent during an answer wait for its end; after Esc \
they stay, and Enter on an empty prompt sends the next. @ names a file to attach, / a command. Shift+Tab goes to the \
messages, where single keys work."""
    DEFAULT_CSS = """
    ChatScreen #meter { height: 1; padding: 0 2; color: $text-muted; }
    ChatScreen #main { width: 1fr; }
    ChatScreen.-short Welcome { max-height: 3; padding: 0 1; }
    ChatScreen.-narrow Sidebar.open { width: 100%; }
    ChatScreen #body { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "escape", "Stop", id="chat.stop"),
        Binding("ctrl+n", "new", "New", id="chat.new"),
        Binding("ctrl+s", "sessions", "Chats", id="chat.sessions"),
        Binding("shift+tab", "messages", "Messages", id="chat.messages"),
        Binding("ctrl+b", "sidebar", "Sidebar", id="chat.sidebar", show=False),
        Binding("ctrl+l", "app.models", "Models", id="chat.models"),
        Binding("ctrl+o", "settings", "Settings", id="chat.settings"),
        Binding("ctrl+r", "message('regenerate')", "Again", id="chat.regenerate", show=False),
        Binding("ctrl+g", "editor", "Editor", id="chat.editor", show=False),
        Binding("ctrl+f", "search", "Search", id="chat.search", show=False, priority=True),
        Binding("pageup,shift+pageup", "scroll(-1)", "Scroll up", id="chat.up", show=False, priority=True),
        Binding(
            "pagedown,shift+pagedown", "scroll(1)", "Scroll down", id="chat.down", show=False, priority=True
        ),
        Binding("ctrl+u", "scroll(-1)", "Scroll up", id="chat.up_plain", show=False),
        Binding("ctrl+d", "scroll(1)", "Scroll down", id="chat.down_plain", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._draft_at: float | None = None
        self._checked_at = 0.0
        self._seen_version = 0
        self._paint_at = 0.0
        self._said_settings = ""
        self._warned_of: str | None = None
        """A prompt that names files which cannot be attached: sent if Enter is pressed again."""

    def compose_body(self) -> ComposeResult:
        """Sidebar, messages, prompt."""
        with Horizontal(id="body"):
            yield Sidebar()
            with Vertical(id="main"):
                yield Welcome()
                yield Transcript()
                yield Completions()
                yield Waiting()
                yield Prompt()
                yield Static("", id="meter", markup=False)

    async def on_mount(self) -> None:
        """The prompt first; then the chats."""
        self.begin()
        app = self.edgelm
        self.prompt.focus()
        self.prompt.paste_lines = app.settings.app.paste_lines
        self.transcript.open_thinking = app.settings.app.show_thinking
        self.width_changed(wide=self.has_class("-wide"))
        with app.reporting():
            latest = self.chats.latest()
            if latest is not None:
                await self.open(latest.id)
            else:
                await self.reload()
            self.prompt.asked = recent_prompts(self.chats)
            self._seen_version = self.chats.version()

    def show_state(self) -> None:
        """The status line, and what an empty library is offered."""
        super().show_state()
        if self.query(Welcome):
            state = self.edgelm.state
            empty = state.is_listed and not state.names and state.model is None and not state.loading
            self.query_one(Welcome).offer(on=empty and not self.path)
            self.show_meter()
            if not self.path:
                self.call_later(self.show_opening)

    def hides_key(self, binding_id: str) -> bool:
        """Esc stops only where something is under way."""
        return binding_id == "chat.stop" and not (self.desk.busy or self.edgelm.state.loading)

    def action_messages(self) -> None:
        """To the message above, from the prompt to the last one."""
        if self.focused is not self.prompt:
            self.focus_previous()
        elif self.transcript.views:
            self.transcript.views[-1].focus()
        elif self.query_one(Welcome).display:
            self.query_one("#demo").focus()
        else:
            self.focus_previous()

    def width_changed(self, *, wide: bool) -> None:
        """The chats stand beside the conversation only where there is room; never over it when the window shrinks."""
        for sidebar in self.query(Sidebar):
            had_focus = self.focused is not None and sidebar in self.focused.ancestors
            sidebar.set_class(wide and self.edgelm.settings.app.sidebar, "open")
            if sidebar.has_class("open"):
                with self.edgelm.reporting():
                    self.show_sessions()
            elif had_focus:
                self.prompt.focus()

    async def tick(self) -> None:
        """Thirty times a second: drafts, and chats that another process has changed."""
        now = time.monotonic()
        if self._draft_at is not None and now >= self._draft_at:
            self._draft_at = None
            with self.edgelm.reporting():
                self.save_draft()
        if now - self._checked_at > _ELSEWHERE_S:
            self._checked_at = now
            with self.edgelm.reporting(quietly=True):
                version = self.chats.version()
                if version != self._seen_version:
                    self._seen_version = version
                    if not self.is_mine:
                        await self.reload_changed()
                    self.show_sessions()

    async def answer_changed(self, answer: Answer) -> None:
        """More of an answer has come, or it has ended."""
        if answer.session_id != self.session_id:
            if answer.state != "writing":
                self.show_sessions()
                self.show_meter()
            return
        if answer.state != "writing" and self.desk.current is not answer:
            await self._ended(answer)
        elif time.monotonic() >= self._paint_at:
            began = time.monotonic()
            self.show_current()
            self._paint_at = time.monotonic() + (time.monotonic() - began) * _PAINT_SHARE
        self.show_meter()

    async def _ended(self, answer: Answer) -> None:
        view = self.transcript.view_of(answer.message_id)
        with self.edgelm.reporting():
            await self.reload()
        if view is not None:
            error = (
                f"error: {answer.error}" + (f"\nhint: {answer.hint}" if answer.hint else "")
                if answer.error
                else None
            )
            shown = view.turn.grown(answer.text, answer.thinking, answer.tool_calls)
            # The saved state may lag behind, where the database is locked.
            message = replace(shown.message, state=answer.state)
            view.show(replace(shown, message=message, error=error))

    async def on_prompt_submitted(self, event: Prompt.Submitted) -> None:
        """Obey a command, or send."""
        command = parse(event.text.strip())
        if command is not None:
            await self._obey_line(event.text, *command)
            return
        text = event.text[1:] if event.text.startswith("//") else event.text
        with self.edgelm.reporting():
            await self._send(text)

    async def _obey_line(self, text: str, name: str, rest: str) -> None:
        """A line that is no command stays; one that failed is what the arrow keys bring back."""
        if not is_command(name):
            with self.edgelm.reporting():
                raise unknown_command(name, COMMANDS)
            return
        self._clear_prompt()
        if not await self.obey(name, rest):
            self.prompt.remember(text)

    async def _send(self, text: str) -> None:
        app = self.edgelm
        await self.leave_if_deleted()
        if not text.strip() and not self.attachments:
            await self._send_waiting()
            return
        found, wrong = files_in(text)
        if wrong and text != self._warned_of:
            self._warned_of = text
            self.notify(
                "\n".join([*wrong, "nothing was sent; Enter again sends it as text"]), severity="warning"
            )
            return
        self._warned_of = None
        attachments = [*self.attachments, *found]
        if app.state.model is None and not app.state.loading and not self.load_again():
            self.notify("no model is loaded yet; Ctrl+L chooses one", severity="warning")
            return
        if app.state.model is not None and app.state.problem:
            app.state.problem = None
            app.changed()
        session_id = self.ensure_session()
        app.use_adapter(self.chat_settings.adapter)
        if self.desk.busy or app.state.loading:
            self.chats.queue(session_id, text, attachments)
            app.send_when_free(session_id)
        else:
            self.sender.send(session_id, self.path[-1].id if self.path else None, text, attachments)
        self.attachments = []
        self._clear_prompt()
        self.prompt.remember(text)
        await self.transcript.clear_notices()
        await self.reload()
        self.transcript.follow()

    async def _send_waiting(self) -> None:
        if self.session_id is None or self.desk.busy:
            return
        if self.edgelm.state.model is None:
            if self.chats.queued(self.session_id) and (self.edgelm.state.loading or self.load_again()):
                self.edgelm.send_when_free(self.session_id)
            return
        if self.sender.send_queued(self.session_id) is not None:
            await self.reload()
            self.transcript.follow()

    def _clear_prompt(self) -> None:
        self.prompt.say("")
        self.prompt.forget_place()
        self._draft_at = None
        if self.session_id is not None:
            self.chats.set_draft(self.session_id, "")

    async def on_prompt_pasted(self, event: Prompt.Pasted) -> None:
        """A long paste becomes an attachment."""
        self.attach_text(event.text)
        await self.show_waiting()

    def on_text_area_changed(self) -> None:
        """Keep the draft, soon."""
        self.disarm()
        self._draft_at = time.monotonic() + _DRAFT_S

    def on_prompt_completing(self, event: Prompt.Completing) -> None:
        """Offer what the word may become."""
        completions = self.query_one(Completions)
        completions.offer(event.word)
        self.prompt.is_completing = completions.is_open

    async def on_prompt_steer(self, event: Prompt.Steer) -> None:
        """Keys for the completions."""
        completions = self.query_one(Completions)
        match event.key:
            case "up" | "down":
                completions.move(1 if event.key == "down" else -1)
            case "take":
                self.prompt.replace_word(completions.taken())
            case "send":
                word = self.prompt.word()
                if word == self.prompt.text.strip() and word + " " != completions.taken():
                    self.prompt.replace_word(completions.taken())
                else:
                    self.post_message(Prompt.Submitted(self.prompt.text))
            case _:
                completions.offer("")
                self.prompt.is_completing = False

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A click on a completion."""
        if isinstance(event.option_list, Completions):
            event.stop()
            self.prompt.replace_word(event.option_list.taken(event.option_index))
            self.prompt.focus()

    async def on_chip_dropped(self, event: Chip.Dropped) -> None:
        """Take away an attachment or a waiting prompt, which comes back into the prompt."""
        chip = event.chip
        with self.edgelm.reporting():
            if chip.at is not None:
                del self.attachments[chip.at]
            elif chip.queued_id is not None and self.session_id is not None:
                item = next((q for q in self.chats.queued(self.session_id) if q.id == chip.queued_id), None)
                if item is not None and self.chats.unqueue(item.id):
                    self.attachments += item.attachments
                    if not self.prompt.text.strip():
                        self.prompt.say(item.text)
            await self.show_waiting()

    async def action_escape(self) -> None:
        """Stop if an answer is under way, else close what is open, else go to the prompt; twice there edits the last one."""
        if self.prompt.is_completing:
            self.query_one(Completions).offer("")
            self.prompt.is_completing = False
        elif self.desk.busy:
            self.edgelm.stop_answer()
        elif isinstance(line := self.focused, Input) and line.value:
            line.value = ""
        elif self.query_one(Sidebar).has_class("open") and not self.has_class("-wide"):
            self.query_one(Sidebar).remove_class("open")
            self.prompt.focus()
        elif self.edgelm.state.loading:
            self.edgelm.stop_loading()
        elif self.focused is not self.prompt:
            self.prompt.focus()
        elif self.armed(("escape", 0)):
            await self.edit_last_prompt()

    def action_scroll(self, pages: int) -> None:
        """Through the messages, wherever the focus is."""
        if pages < 0:
            self.transcript.scroll_page_up(animate=False)
        else:
            self.transcript.scroll_page_down(animate=False)

    def action_editor(self) -> None:
        """Write the prompt in $EDITOR."""
        with self.edgelm.reporting():
            try:
                with self.app.suspend():
                    text = edit_text(self.prompt.text)
            except SuspendNotSupported:
                self.notify("an editor cannot be opened from here", severity="warning")
                return
            self.prompt.say(text)

    def show_meter(self) -> None:
        """The last line: the answer under way, else the last one of this chat."""
        app = self.edgelm
        limit = app.state.model.context_length if app.state.model else None
        answer = self.desk.current
        if answer is not None and answer.session_id == self.session_id:
            text = meter(answer.count, limit)
        elif answer is not None:
            text = "an answer is under way in another chat"
        else:
            text = self._idle_meter(limit)
        waiting = len(self.query(Chip)) - len(self.attachments)
        if waiting > 0:
            until = "" if answer else " for the model" if app.state.loading else ", Enter sends the next"
            held = f"{waiting} waiting{until}"
            text = f"{text} · {held}" if text else held
        self.query_one("#meter", Static).update(text, layout=False)
        self._show_settings()

    def _show_settings(self) -> None:
        """In the frame of the prompt: a system prompt or a temperature must not be forgotten."""
        said = self.chat_settings.said()
        if said != self._said_settings:
            self._said_settings = said
            self.prompt.border_subtitle = plain(said)

    def _idle_meter(self, limit: int | None) -> str:
        from edgelm.runtime.events import Usage

        answers = [message for message in self.path if message.role == "assistant"]
        if not answers:
            return ""
        last, message = self.desk.last, answers[-1]
        if last is not None and last.message_id == message.id:
            return meter(last.count, limit, ended=_ending(last.state))
        if not message.usage:
            return _ending(message.state)
        return meter(Count(0.0, usage=Usage(**message.usage)), limit, ended=_ending(message.state))


def _ending(state: str) -> str:
    return state if state in ("stopped", "failed") else ""
