"""The chat loop: a prompt, an answer, again; and the slash commands.

Errors of one turn are shown and the chat goes on: this loop is an application of its own, and the only
place beside `main` and the terminal app that catches them. Knows no terminal: lines come from a reader. What the commands
do is in `repl_messages`, `repl_chats` and `repl_model`.
"""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from edgelm.cli.chat import chat_commands as repl_chats
from edgelm.cli.chat import message_commands as repl_messages
from edgelm.cli.chat import model_commands as repl_model
from edgelm.cli.chat.chat_recorder import Journal, shaping
from edgelm.cli.chat.chat_session import Talker
from edgelm.cli.chat.command import Command
from edgelm.cli.chat.line_readers import Abandoned, Reader
from edgelm.cli.chat.model_commands import describe_settings
from edgelm.cli.parsing.texts import check_text
from edgelm.cli.show.answer import TextAnswer, show_usage
from edgelm.cli.show.output import say, show_error
from edgelm.conversation.attachments import files_in
from edgelm.conversation.commands import ALIASES as APP_ALIASES
from edgelm.conversation.commands import parse, unknown_command
from edgelm.errors import EdgeLMError
from edgelm.runtime.chat.tool_loop import ToolEvent
from edgelm.runtime.events import Finished, Text
from edgelm.store.chat_schema import Attachment, Message, State
from edgelm.store.saved_to_messages import take_unanswered
from edgelm_tui.settings import ChatSettings


def _help(repl: Repl, rest: str) -> None:
    if rest:
        _help_on(rest)
        return
    for title, commands in _GROUPS.items():
        say(f"{title}:")
        for name, command in commands.items():
            say(f"  {name:11} {command.help}")
    say(f"  {'//text':11} send a line that begins with a slash")
    say(
        "N is a number that /messages shows; without it, the last message is meant. @FILE in a prompt attaches a file."
    )
    say("/help COMMAND says more of one.")
    say(repl.keys)


def _help_on(text: str) -> None:
    """One command, with its aliases and whatever is to be known of it."""
    asked = f"/{text.lstrip('/').lower()}"
    name = _ALIASES.get(asked, asked)
    if name not in COMMANDS:
        raise unknown_command(name, COMMANDS)
    say(f"{name} {COMMANDS[name].help}")
    aliases = [alias for alias, meant in _ALIASES.items() if meant == name]
    if aliases:
        say(f"{', '.join(aliases)} does the same")
    for line in describe_settings() if name == "/set" else _MORE.get(name, ()):
        say(line)


_MORE = {
    "/save": (
        "/save writes what the model was told and said, as it stands: one conversation as plain messages (.json,",
        "the format of chat data, or .md), without a name in edgelm's own folder of chats.",
        "/export writes the chat as edgelm keeps it: with alternatives, ratings and settings (.json, which /import",
        "reads back), or as text (.md). Neither writes over a file that is there.",
    )
}
_MORE["/export"] = _MORE["/save"]

_GROUPS = {
    "messages": repl_messages.COMMANDS,
    "chats": repl_chats.COMMANDS,
    "model": repl_model.COMMANDS,
    "more": {
        "/help": Command("[COMMAND]  this list, or what a command does", _help),
        "/quit": Command("leave; /exit too", lambda repl, _: repl.leave()),
    },
}
COMMANDS = {name: command for commands in _GROUPS.values() for name, command in commands.items()}
_ALIASES = {**APP_ALIASES, "/settings": "/set", "/previous": "/prev"}


@dataclass
class Repl:
    """A conversation at a prompt.

    Args:
        calls: whether the calls that the model writes are part of its answer; False where they are run.
        settings: of the answers, over those of the command line.
    """

    talker: Talker
    read: Reader
    keys: str
    journal: Journal
    thinking: bool
    plain: bool
    show_cost: bool
    calls: bool = True
    settings: ChatSettings = field(default_factory=ChatSettings)
    attachments: list[Attachment] = field(default_factory=list)
    _leaving: bool = False

    def run(self) -> None:
        """Until /quit or Ctrl-D."""
        while not self._leaving:
            try:
                line = self.read()
                if line.strip():
                    self._obey(check_text(line, "the line"))
            except Abandoned as abandoned:
                if abandoned.was_empty:
                    say("Ctrl-D or /quit leaves")
            except EOFError:
                return
            except EdgeLMError as error:
                show_error(error.message, error.hint)

    def leave(self) -> None:
        """End the loop."""
        self._leaving = True

    def _obey(self, line: str) -> None:
        """Answer or do what `line` says."""
        command = parse(line.strip())
        if command is None:
            self.answer(line[1:] if line.startswith("//") else line)
            return
        name, rest = command
        known = COMMANDS.get(_ALIASES.get(name, name))
        if known is None:
            raise unknown_command(name, COMMANDS)
        known.run(self, rest)

    def answer(self, text: str, files: Iterable[Attachment] | None = None) -> None:
        """Show the answer to a prompt, said below what was said last; Ctrl-C stops it and keeps what came."""
        if files is None:
            found, wrong = files_in(text)
            for problem in wrong:
                say(problem)
            files, self.attachments = [*self.attachments, *found], []
        unsaved = Message(0, 0, None, "user", text, attachments=tuple(files))
        self.ask(self.journal.say(text, unsaved.attachments) or unsaved)

    def ask(self, prompt: Message) -> None:
        """Show an answer to a prompt that is written down, another one if it has some; the conversation stands before it."""
        under = {
            **shaping(self.talker.chat),
            "settings": self.settings.conditions()["settings"],
        }
        times = self.journal.times_answered(prompt, self.talker.adapter_name, under)
        text = self._with_unanswered(prompt.prompt_text())
        known = len(self.talker.chat.messages) + 1
        finished: Finished | None = None
        state: State = "failed"
        try:
            finished, state = self._show(self.talker.ask(text, **self.generation(times)))
        finally:
            if prompt.id:
                self.journal.hear(
                    prompt,
                    self.talker.chat.messages[known:],
                    state,
                    usage=finished.usage if finished else None,
                    adapter=self.talker.adapter_name,
                    made_under=under,
                )

            if state == "stopped" and len(self.talker.chat.messages) < known and not self.journal.is_broken:
                self.talker.chat.replace(self.journal.turns)

    def _with_unanswered(self, text: str) -> str:
        """A prompt, after those before it that were stopped before an answer began."""
        said = self.talker.chat.messages
        if said and said[-1]["role"] == "user":
            text = take_unanswered(said, text)
            self.talker.chat.replace(said)
        return text

    def go_on(self, cut: Message) -> None:
        """Let the model continue an answer that was cut, the last message of the conversation."""
        chats, said = self.journal.chats, [cut.content]
        turns = self.journal.turns
        finished: Finished | None = None
        state: State = "failed"

        def noted() -> Generator[ToolEvent, None, None]:
            with closing(self.talker.go_on(turns, self.generation())) as events:
                for event in events:
                    if isinstance(event, Text) and event.channel == "answer":
                        said.append(event.text)
                    yield event

        chats.resume(cut.id)
        try:
            finished, state = self._show(noted())
        finally:
            chats.write(cut.id, "".join(said), thinking=cut.thinking, tool_calls=cut.tool_calls)
            chats.finish(cut.id, state, usage=dataclasses.asdict(finished.usage) if finished else None)
            self.talker.chat.replace(self.journal.turns)

    def jump(self, message_id: int | None) -> None:
        """Let the conversation stand at another message."""
        self.journal.go_to(message_id)
        self.talker.chat.replace(self.journal.turns)

    def generation(self, times: int = 0) -> dict[str, Any]:
        """What was set in this chat, as the runtime takes it, for a prompt that was answered `times` times."""
        from edgelm_tui.engine.answering import read_schema

        settings = self._again(times) if times else self.settings
        own = settings.changes(ChatSettings())
        said = {name: value for name, value in settings.generation().items() if name in own}
        return (
            {**said, "schema": read_schema(self.settings.schema), "grammar": None}
            if own.get("schema")
            else said
        )

    def _again(self, times: int) -> ChatSettings:
        options = getattr(self.talker.chat, "options", None)
        settings = self.settings.again(times, is_greedy=options is None or options.sampling.is_greedy)
        if settings.temperature != self.settings.temperature:
            say(f"drawn at temperature {settings.temperature}: the likeliest answer is the one you have")
        return settings

    def _show(self, events: Generator[ToolEvent, None, None]) -> tuple[Finished | None, State]:
        """Print an answer; how it ended."""
        try:
            with first_interrupt_only(), closing(events):
                shown = TextAnswer(thinking=self.thinking, calls=self.calls, plain=self.plain)
                finished = shown.show(events)
        except KeyboardInterrupt:
            say("(stopped) What came is kept; /continue goes on, /retry answers again.")
            return None, "stopped"
        if finished and self.show_cost:
            show_usage(finished, plain=self.plain)
        is_cut = finished is not None and finished.reason == "length"
        return finished, "length" if is_cut else "complete"


@contextmanager
def first_interrupt_only() -> Iterator[None]:
    """The first Ctrl-C in the block raises KeyboardInterrupt; more, while it is being obeyed, do nothing."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
