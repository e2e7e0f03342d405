"""The chat loop: a prompt, an answer, again; and the slash commands.

Errors of one turn are shown and the chat goes on: this loop is an application of its own, and the only
place beside `main` and the terminal app that catches them. Knows no terminal: lines come from a reader.
"""

from __future__ import annotations

import difflib
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from edgelm.cli.answer import TextAnswer, show_usage
from edgelm.cli.line_readers import Abandoned, Reader
from edgelm.cli.output import say, show_error
from edgelm.cli.stdin import check_text
from edgelm.cli.transcript import default_file, save
from edgelm.errors import EdgeLMError
from edgelm.runtime.tool_loop import ToolEvent

COMMANDS = {
    "/help": "this list",
    "/system": "[text]  show or set the system prompt",
    "/think": "[on|off|auto]  let the model think before it answers; [show|hide]  its thinking",
    "/clear": "forget the conversation, keep the system prompt",
    "/save": "[file]  write the conversation to a new .json or .md file",
    "/quit": "leave",
}


class Conversation(Protocol):
    """What the loop needs of `edgelm.runtime.chat.Chat`."""

    system: str | None
    enable_thinking: bool | None

    @property
    def can_think(self) -> bool:
        """Whether the model knows a thinking block."""

    @property
    def messages(self) -> Any:
        """The turns so far, each with "role" and "content"."""

    def clear(self) -> None:
        """Forget the turns."""


Ask = Callable[[str], Generator[ToolEvent, None, None]]
_THINKING = {"on": True, "off": False, "auto": None}


@dataclass
class Repl:
    """A conversation at a prompt.

    `ask` sends a prompt and yields the events of its answer; closing it keeps what was said so far.
    """

    chat: Conversation
    ask: Ask
    read: Reader
    model: str
    keys: str
    thinking: bool
    plain: bool
    show_cost: bool
    calls: bool = True
    """Whether the calls that the model writes are part of its answer; False where they are run."""

    def run(self) -> None:
        """Until /quit or Ctrl-D."""
        while True:
            try:
                line = self.read()
                if line.strip() and not self._obey(check_text(line, "the line")):
                    return
            except Abandoned as abandoned:
                if abandoned.was_empty:
                    say("Ctrl-D or /quit leaves")
            except EOFError:
                return
            except EdgeLMError as error:
                show_error(error.message, error.hint)

    def _obey(self, line: str) -> bool:
        """Answer or do what `line` says; False to leave."""
        if line.startswith("//"):
            line = line[1:]
        elif line.startswith("/"):
            return self._command(*line.split(maxsplit=1))
        self.answer(line)
        return True

    def answer(self, prompt: str) -> None:
        """Show the answer to `prompt`; Ctrl-C stops it and keeps what came."""
        try:
            with first_interrupt_only(), closing(self.ask(prompt)) as events:
                shown = TextAnswer(thinking=self.thinking, calls=self.calls, plain=self.plain)
                finished = shown.show(events)
        except KeyboardInterrupt:
            say("(stopped)")
            return
        if finished and self.show_cost:
            show_usage(finished, plain=self.plain)

    def _command(self, name: str, rest: str = "") -> bool:
        match name:
            case "/quit" | "/exit":
                return False
            case "/help":
                self._help()
            case "/system":
                self._system(rest.strip())
            case "/think":
                self._think(rest.strip())
            case "/clear":
                self.chat.clear()
                say("the conversation is forgotten")
            case "/save":
                self._save(rest.strip())
            case _:
                near = difflib.get_close_matches(name, COMMANDS, n=1)
                meant = f", did you mean {near[0]}?" if near else ""
                show_error(
                    f"no command {name}{meant}", "/help lists them; begin with // to send a line with a slash"
                )
        return True

    def _help(self) -> None:
        for name, help_text in COMMANDS.items():
            say(f"  {name:8} {help_text}")
        say(f"  {'//text':8} send a line that begins with a slash")
        say(self.keys)

    def _system(self, text: str) -> None:
        if text:
            self.chat.system = text
            say("the system prompt is set")
        else:
            say(self.chat.system or "there is no system prompt")

    def _think(self, wish: str) -> None:
        if not self.chat.can_think:
            say("this model has no thinking to switch")
        elif wish in _THINKING:
            self.chat.enable_thinking = _THINKING[wish]
        elif wish in ("show", "hide"):
            self.thinking = wish == "show"
        elif wish:
            show_error(f"/think is {wish!r}, expected on, off, auto, show or hide")
            return
        mode = next(name for name, value in _THINKING.items() if value is self.chat.enable_thinking)
        say(f"thinking is {mode} and {'shown' if self.thinking else 'hidden'}")

    def _save(self, name: str) -> None:
        if not self.chat.messages:
            say("there is nothing to save yet")
            return
        file = Path(name).expanduser() if name else default_file()
        save(file, self.chat.messages, model=self.model)
        say(f"saved to {file}")


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
