"""The chat screen: chats beside the conversation, messages above, the prompt below, and one line that says how it goes.

What it does is in the objects that it holds; here are its widgets, its keys, and which object hears what.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, OptionList

from edgelm.conversation.commands import parse
from edgelm.store.prompts import recent_prompts
from edgelm_tui.engine.answer_desk import AnswerUnderWay
from edgelm_tui.screens.chat.chat_actions import ChatActions
from edgelm_tui.screens.chat.composer import Composer
from edgelm_tui.screens.chat.message_actions import MessageActions
from edgelm_tui.screens.chat.meter_line import MeterLine
from edgelm_tui.screens.chat.open_chat import OpenChat
from edgelm_tui.screens.chat.prompt.completion import Completions
from edgelm_tui.screens.chat.prompt.prompt import ChatPrompt
from edgelm_tui.screens.chat.prompt.waiting import Waiting, WaitingChip
from edgelm_tui.screens.chat.sidebar import Sidebar
from edgelm_tui.screens.chat.slash_commands import SlashCommands
from edgelm_tui.screens.chat.transcript.transcript import Transcript
from edgelm_tui.screens.chat.transcript.view import MessageView
from edgelm_tui.screens.chat.welcome import Welcome
from edgelm_tui.services.services import Services
from edgelm_tui.shell.keys.sentences import SENTENCES, sentence
from edgelm_tui.shell.mode_screen import ModeScreen
from edgelm_tui.shell.rows import RowList

_ELSEWHERE_S = 2.0
"""Seconds between two looks for what another process has written."""


class ChatScreen(ModeScreen):
    """One conversation at a time.

    Attributes:
        open_chat: the chat that is shown.
    """

    MODE: ClassVar[str] = "chat"
    HELP_TEXT = """\
Enter sends, Ctrl+J starts a new line (Shift+Enter too, where the terminal tells it from Enter). Esc stops an answer \
(what came is kept), and otherwise goes back to the prompt. Prompts sent during an answer wait for its end; after Esc \
they stay, and Enter on an empty prompt sends the next. @ names a file to attach, / a command. Shift+Tab goes to the \
messages, where single keys work."""
    DEFAULT_CSS = """
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

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        services.register_chat(self)
        self.open_chat = OpenChat(self)
        self._composer = Composer(self.open_chat)
        self._messages = MessageActions(self.open_chat)
        self._chats = ChatActions(self.open_chat)
        self._commands = SlashCommands(self.open_chat, self._composer, self._messages, self._chats)
        self._checked_at = 0.0
        self._seen_version = 0

    def compose_body(self) -> ComposeResult:
        """Make the sidebar, the messages and the prompt."""
        with Horizontal(id="body"):
            yield Sidebar()
            with Vertical(id="main"):
                yield Welcome()
                yield Transcript()
                yield Completions()
                yield Waiting()
                yield ChatPrompt()
                yield MeterLine()

    async def on_mount(self) -> None:
        """Show the prompt first, then the last chat."""
        self.begin()
        services, chat = self.services, self.open_chat
        chat.prompt.focus()
        chat.prompt.paste_lines = services.settings.app.paste_lines
        chat.transcript.open_thinking = services.settings.app.show_thinking
        self.width_changed(wide=self.has_class("-wide"))
        with services.notices.reporting():
            latest = chat.chats.latest()
            if latest is not None:
                await chat.open(latest.id)
            else:
                await chat.reload()
            chat.prompt.asked = recent_prompts(chat.chats)
            self._seen_version = chat.chats.version()

    def show_state(self) -> None:
        """Show the status line, and what an empty library is offered."""
        super().show_state()
        if self.query(Welcome):
            state = self.services.state
            empty = state.is_listed and not state.names and state.model is None and not state.loading
            self.query_one(Welcome).offer(on=empty and not self.open_chat.path)
            self.open_chat.show_meter()
            if not self.open_chat.path:
                self.call_later(self.open_chat.show_opening)

    @property
    def is_whole(self) -> bool:
        """Whether the widgets are there: not before they are made, and not while the app is closing."""
        return self.open_chat.is_whole

    @property
    def adapter(self) -> str:
        """The directory of the adapter that the open chat is with, "" without one."""
        return self.open_chat.settings.adapter

    async def open_saved(self, session_id: int) -> None:
        """Open a saved chat, and put the focus on the prompt."""
        await self.open_chat.open(session_id)
        self.open_chat.prompt.focus()

    async def begin_with(self, adapter: str) -> None:
        """Begin a new chat with an adapter."""
        await self.action_new()
        self.open_chat.adopt_adapter(adapter)

    async def answer_changed(self, answer: AnswerUnderWay) -> None:
        """Show that more of an answer has come, or that it has ended."""
        await self.open_chat.answer_changed(answer)

    async def reload(self) -> None:
        """Show the open chat as it is saved."""
        await self.open_chat.reload()

    async def show_notice(self, text: str, *, error: bool = False) -> None:
        """Say something below the messages."""
        await self.open_chat.transcript.notice(text, error=error)

    def save_draft(self) -> None:
        """Keep what is typed and not sent."""
        self.open_chat.save_draft()

    def clear_typed(self) -> bool:
        """Clear the prompt, if the user writes in it."""
        prompt = self.open_chat.prompt
        if self.focused is not prompt or not prompt.text:
            return False
        prompt.clear()
        return True

    def other_bindings(self) -> Iterable[Binding]:
        """Return the keys of messages, which have no focus while the user writes."""
        return [item for item in MessageView.BINDINGS if isinstance(item, Binding)]

    def palette_actions(self) -> Iterable[tuple[str, str]]:
        """Return what can be done to the message that is meant, and to the open chat."""
        for binding in self.other_bindings():
            yield f"{sentence(binding)} (a message)", f"screen.message({binding.action.partition('(')[2]}"
        for name in ("rename", "duplicate", "delete", "export", "folder", "import", "undo"):
            yield SENTENCES[f"sessions.{name}"], f"screen.session('{name}')"

    def on_welcome_offer_taken(self, event: Welcome.OfferTaken) -> None:
        """Take what an empty library is offered."""
        if event.what == "demo":
            self.services.jobs.add("convert", "Converting smollm2", {"source": "smollm2"})
        else:
            self.services.navigation.go("library", "hub")

    def hides_key(self, binding_id: str) -> bool:
        """Tell whether a key would do nothing now: Esc stops only where something is under way."""
        return binding_id == "chat.stop" and not (self.services.desk.busy or self.services.state.loading)

    def width_changed(self, *, wide: bool) -> None:
        """Let the chats stand beside the conversation where there is room, and never over it when the window shrinks."""
        for sidebar in self.query(Sidebar):
            had_focus = self.focused is not None and sidebar in self.focused.ancestors
            sidebar.set_class(wide and self.services.settings.app.sidebar, "open")
            if sidebar.has_class("open"):
                with self.services.notices.reporting():
                    self.open_chat.show_sessions()
            elif had_focus:
                self.open_chat.prompt.focus()

    async def tick(self) -> None:
        """Keep drafts, and show what another process has changed; called thirty times a second."""
        self._composer.tick()
        now = time.monotonic()
        if now - self._checked_at <= _ELSEWHERE_S:
            return
        self._checked_at = now
        with self.services.notices.reporting(quietly=True):
            version = self.open_chat.chats.version()
            if version != self._seen_version:
                self._seen_version = version
                if not self.open_chat.is_answering:
                    await self.open_chat.leave_if_deleted()
                    await self.open_chat.reload()
                self.open_chat.show_sessions()

    async def act_on(self, view: MessageView, action: str, argument: int) -> None:
        """Do something to a message; what fails is said."""
        await self._messages.act_on(view, action, argument)

    def write_on(self, text: str, *, pasted: bool = False) -> None:
        """Go on writing in the prompt."""
        self.open_chat.write_on(text, pasted=pasted)

    async def on_message_view_asked_for(self, event: MessageView.AskedFor) -> None:
        """Do what a click on a message asks for."""
        event.stop()
        await self.act_on(event.view, event.action, event.argument)

    def on_descendant_blur(self) -> None:
        """Forget the key before where the focus has moved."""
        self.open_chat.disarm()

    async def on_chat_prompt_submitted(self, event: ChatPrompt.Submitted) -> None:
        """Obey a command, or send."""
        command = parse(event.text.strip())
        if command is not None:
            await self._commands.obey(event.text, *command)
            return
        with self.services.notices.reporting():
            await self._composer.send(event.text[1:] if event.text.startswith("//") else event.text)

    async def on_chat_prompt_pasted(self, event: ChatPrompt.Pasted) -> None:
        """Let a long paste become an attachment."""
        await self._composer.attach_text(event.text)

    def on_text_area_changed(self) -> None:
        """Keep the draft soon."""
        self.open_chat.disarm()
        self._composer.keep_soon()

    def on_chat_prompt_completing(self, event: ChatPrompt.Completing) -> None:
        """Offer what the word may become."""
        self._offer(event.word)

    def _offer(self, word: str) -> None:
        completions = self.query_one(Completions)
        completions.offer(word)
        self.open_chat.prompt.is_completing = completions.is_open

    async def on_chat_prompt_steer(self, event: ChatPrompt.Steer) -> None:
        """Obey a key for the completions."""
        completions, prompt = self.query_one(Completions), self.open_chat.prompt
        match event.key:
            case "up" | "down":
                completions.move(1 if event.key == "down" else -1)
            case "take":
                prompt.replace_word(completions.taken())
            case "send":
                word = prompt.word()
                if word == prompt.text.strip() and word + " " != completions.taken():
                    prompt.replace_word(completions.taken())
                else:
                    self.post_message(ChatPrompt.Submitted(prompt.text))
            case _:
                self._offer("")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Take the completion that was clicked."""
        if isinstance(event.option_list, Completions):
            event.stop()
            self.open_chat.prompt.replace_word(event.option_list.taken(event.option_index))
            self.open_chat.prompt.focus()

    async def on_waiting_chip_dropped(self, event: WaitingChip.Dropped) -> None:
        """Take away an attachment or a waiting prompt."""
        await self._composer.drop(event.chip)

    async def on_sidebar_opened(self, event: Sidebar.Opened) -> None:
        """Open the chat that was chosen in the list."""
        with self.services.notices.reporting():
            await self.open_chat.open(event.session_id)
            self.open_chat.prompt.focus()
            if not self.has_class("-wide"):
                self.open_chat.sidebar.remove_class("open")

    def on_sidebar_searched(self, event: Sidebar.Searched) -> None:
        """Search at each letter."""
        with self.services.notices.reporting():
            self.open_chat.show_sessions()

    async def on_row_list_act(self, event: RowList.Act) -> None:
        """Obey a key in the list of chats."""
        event.stop()
        await self._chats.act_on_row(event.action, event.row)

    async def action_message(self, action: str, argument: int = 0) -> None:
        """Do something to the message that is meant."""
        await self._messages.act_on_target(action, argument)

    async def action_session(self, action: str) -> None:
        """Do something to the open chat."""
        await self._chats.act_on(action, self.open_chat.session_id)

    async def action_new(self) -> None:
        """Begin a new chat."""
        await self._commands.begin_new()

    def action_settings(self) -> None:
        """Open the settings of this chat."""
        self._commands.open_settings()

    def action_sidebar(self) -> None:
        """Show or hide the chats."""
        self._chats.toggle_list()

    def action_sessions(self) -> None:
        """Go to the chats."""
        self._chats.list_chats()

    def action_search(self) -> None:
        """Search all chats."""
        self._chats.search()

    def action_editor(self) -> None:
        """Write the prompt in $EDITOR."""
        self._composer.edit()

    def action_messages(self) -> None:
        """Go to the message above, from the prompt to the last one."""
        views = self.open_chat.transcript.views
        if self.focused is self.open_chat.prompt and views:
            views[-1].focus()
        elif self.focused is self.open_chat.prompt and self.query_one(Welcome).display:
            self.query_one("#demo").focus()
        else:
            self.focus_previous()

    def action_scroll(self, pages: int) -> None:
        """Scroll through the messages, wherever the focus is."""
        if pages < 0:
            self.open_chat.transcript.scroll_page_up(animate=False)
        else:
            self.open_chat.transcript.scroll_page_down(animate=False)

    async def action_escape(self) -> None:
        """Stop if an answer is under way, else close what is open, else go to the prompt; twice there edits the last one."""
        prompt, sidebar = self.open_chat.prompt, self.open_chat.sidebar
        if prompt.is_completing:
            self._offer("")
        elif self.services.desk.busy:
            self.services.waiting.stop_answer()
        elif isinstance(line := self.focused, Input) and line.value:
            line.value = ""
        elif sidebar.has_class("open") and not self.has_class("-wide"):
            sidebar.remove_class("open")
            prompt.focus()
        elif self.services.state.loading:
            self.services.models.stop_loading()
        elif self.focused is not prompt:
            prompt.focus()
        elif self.open_chat.armed(("escape", 0)):
            await self._messages.edit_last_prompt()
