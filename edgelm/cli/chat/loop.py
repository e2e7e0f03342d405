"""The chat loop: a prompt, an answer, again; and the slash commands.

Errors of one turn are shown and the chat goes on: this loop is an application of its own, and the only place beside `main` and
the terminal app that catches them. Knows no terminal: lines come from a reader.
"""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from edgelm.cli.chat.chat_recorder import ChatRecorder
from edgelm.cli.chat.chat_session import ChatSession
from edgelm.cli.chat.line_readers import Abandoned, Reader
from edgelm.cli.parsing.texts import check_text
from edgelm.cli.show.answer import TextAnswer, show_usage
from edgelm.cli.show.output import say, show_error
from edgelm.conversation.asking import Asked
from edgelm.conversation.attachments import files_in
from edgelm.conversation.commands import parse, unknown_command
from edgelm.conversation.question import Question
from edgelm.conversation.settings import ChatSettings
from edgelm.errors import EdgeLMError
from edgelm.runtime.chat.tool_loop import ToolEvent
from edgelm.store.chat_schema import Attachment, Message, State

Show = Callable[[Generator[ToolEvent, None, None]], State]
"""Shows the events of an answer and says how it ended."""


@dataclass(frozen=True, slots=True)
class SlashCommand:
    """A command of the chat loop.

    Attributes:
        help: what may follow its name, and what it is for.
        run: does it; the text is what stands behind the name.
    """

    help: str
    run: Callable[[ChatLoop, str], None]


@dataclass
class ChatLoop:
    """A conversation at a prompt.

    Args:
        commands: what lines with a slash do, by name and by alias.
        keys: what the keys of the reader do, for `/help`.
        thinking: whether what the model thinks is shown.
        calls: whether the calls that the model writes are part of its answer; False where they are run.
        settings: of the answers, over those of the command line.
    """

    session: ChatSession
    read: Reader
    keys: str
    recorder: ChatRecorder
    commands: Mapping[str, SlashCommand]
    thinking: bool
    plain: bool
    show_cost: bool
    calls: bool = True
    settings: ChatSettings = field(default_factory=ChatSettings)
    _leaving: bool = False

    def run(self) -> None:
        """Go on until /quit or Ctrl-D."""
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
        """Answer `line`, or do what it says."""
        command = parse(line.strip())
        if command is None:
            self.answer(line[1:] if line.startswith("//") else line)
            return
        name, rest = command
        if name not in self.commands:
            raise unknown_command(name, self.commands)
        self.commands[name].run(self, rest)

    def answer(self, text: str, files: Iterable[Attachment] | None = None, show: Show | None = None) -> None:
        """Show the answer to a prompt, said below what was said last; Ctrl-C stops it and keeps what came.

        Args:
            files: what goes with the prompt; None is what was attached and what it names.
            show: shows the answer, instead of printing its text.
        """
        if files is None:
            named, problems = files_in(text)
            for problem in problems:
                say(problem)
            files = [*self.recorder.attachments, *named]
        files = tuple(files)
        prompt = self.recorder.say(text, files)
        if prompt is not None:
            self.ask(prompt, show)
        else:
            self._show_unsaved(Message(0, 0, None, "user", text, attachments=files), show or self._show)

    def ask(self, prompt: Message, show: Show | None = None) -> None:
        """Show an answer to a prompt that is written down, another one if it has some."""
        asked = self.recorder.ask(prompt, self.settings)
        if asked is None:
            self._show_unsaved(prompt, show or self._show)
            return
        if asked.is_drawn:
            temperature = asked.question.generation["temperature"]
            say(f"drawn at temperature {temperature}: the likeliest answer is the one you have")
        self._show_recorded(asked, show or self._show)

    def go_on(self, cut: Message) -> None:
        """Let the model continue an answer that was cut, the last message of the conversation."""
        self._show_recorded(self.recorder.go_on(cut, self.settings), self._show)

    def _show_recorded(self, asked: Asked, show: Show) -> None:
        record = self.recorder.record(asked)
        state: State = "failed"
        try:
            state = show(self.recorder.noted(record, self.session.ask(asked.question)))
        except KeyboardInterrupt:
            state = "stopped"
            raise
        finally:
            self.recorder.end(record, state)

    def _show_unsaved(self, prompt: Message, show: Show) -> None:
        """Show the answer to a prompt in a conversation that cannot be saved."""
        question = Question((), generation=self.settings.generation(), schema=self.settings.schema)
        show(self.session.say(prompt.prompt_text(), question.settings()))

    def go_to(self, message_id: int | None) -> None:
        """Let the conversation stand at another message, which is shown from now on; None is before the first."""
        self.recorder.conversation.go_to(message_id)
        self.follow()

    def go_to_end(self) -> None:
        """Let the conversation stand at the end of what is shown."""
        self.recorder.conversation.go_to_end()
        self.follow()

    def follow(self) -> None:
        """Let the model's chat stand where the conversation stands."""
        self.session.go_to(self.recorder.conversation.turns)

    def open(self, session_id: int | None) -> None:
        """Go on with a saved chat and its settings; None begins a new one with the present ones."""
        self.recorder.open(session_id)
        if session_id is not None:
            self.use_settings(self.recorder.conversation.settings)
        self.follow()

    def use_settings(self, settings: ChatSettings) -> None:
        """Let other settings count from the next answer on."""
        self.settings = settings
        chat = self.session.chat
        chat.system, chat.enable_thinking = settings.system or None, settings.thinking
        if settings.adapter and Path(settings.adapter).is_dir():
            self.session.weigh_adapter(settings.adapter, settings.adapter_scale)

    def change_settings(self, **values: Any) -> None:
        """Change some settings, and keep them with the chat."""
        self.settings = dataclasses.replace(self.settings, **values)
        chat = self.session.chat
        chat.system, chat.enable_thinking = self.settings.system or None, self.settings.thinking
        self.recorder.keep(**values)

    def _show(self, events: Generator[ToolEvent, None, None]) -> State:
        """Print an answer; how it ended."""
        try:
            with first_interrupt_only(), closing(events):
                shown = TextAnswer(thinking=self.thinking, calls=self.calls, plain=self.plain)
                finished = shown.show(events)
        except KeyboardInterrupt:
            say("(stopped) What came is kept; /continue goes on, /retry answers again.")
            return "stopped"
        if finished and self.show_cost:
            show_usage(finished, plain=self.plain)
        return "length" if finished is not None and finished.reason == "length" else "complete"


@contextmanager
def first_interrupt_only() -> Iterator[None]:
    """Let the first Ctrl-C in the block raise KeyboardInterrupt, and more, while it is being obeyed, do nothing."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
