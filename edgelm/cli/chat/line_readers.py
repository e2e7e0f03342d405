"""Where the chat gets its lines: an editing prompt on a terminal, or plain `input()`.

A reader is a function that returns one prompt, and raises EOFError on Ctrl-D. Ctrl-C raises
`Abandoned`, which says whether there was anything to abandon. Knows nothing of models or commands'
meaning.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from edgelm import paths
from edgelm.cli.show.output import is_terminal, warn
from edgelm.errors import FormatError

if TYPE_CHECKING:
    from prompt_toolkit.completion import Completer
    from prompt_toolkit.history import History
    from prompt_toolkit.key_binding import KeyBindings

Reader = Callable[[], str]

PROMPT = "> "
_MENU_LINES = 8
EDITING_KEYS = (
    "Enter sends; Alt+Enter or Ctrl+J starts a new line; Up recalls; Ctrl-C stops an answer; Ctrl-D leaves."
)
PLAIN_KEYS = "Enter sends; a line that ends in \\ goes on; Ctrl-C stops an answer; Ctrl-D leaves."


class Abandoned(Exception):  # noqa: N818 - a key, not a fault
    """Ctrl-C at the prompt."""

    def __init__(self, *, was_empty: bool) -> None:
        super().__init__()
        self.was_empty = was_empty


def can_edit() -> bool:
    """Tell whether stdin and stdout can carry an editing prompt."""
    return sys.stdin.isatty() and is_terminal(sys.stdout)


@contextmanager
def keep_typed_ahead() -> Iterator[None]:
    """Keep what is typed while there is no prompt, unseen, for the next one.

    The terminal's own line editing would make Enter of it what Ctrl+J is, and mix it with the answer.
    """
    import termios

    before = termios.tcgetattr(sys.stdin)
    quiet = list(before)
    quiet[0] &= ~termios.ICRNL
    quiet[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def plain_reader() -> str:
    """Read one prompt through `input()`, which screen readers and dumb terminals follow.

    Raises:
        FormatError: the line is not UTF-8.
    """
    lines: list[str] = []
    try:
        while not lines or lines[-1].endswith("\\"):
            print(PROMPT, end="", file=sys.stderr, flush=True)
            lines.append(input())
    except KeyboardInterrupt:
        print(file=sys.stderr)
        raise Abandoned(was_empty=True) from None
    except UnicodeDecodeError as error:
        raise FormatError(f"the line is not UTF-8 text: {error.reason} at byte {error.start}") from error
    return "\n".join([*(line[:-1] for line in lines[:-1]), lines[-1]])


def editing_reader(commands: Sequence[str], *, keeps_history: bool = True, **streams: Any) -> Reader:
    """Make a reader with history, completion of `commands` and multi-line editing and paste.

    `streams` (input, output) replace the terminal in tests.

    Args:
        keeps_history: for the next time; False where it was said already that nothing is kept.
    """
    from prompt_toolkit import PromptSession

    session: PromptSession[str] = PromptSession(
        PROMPT,
        multiline=True,
        prompt_continuation="  ",
        history=_history(is_kept=keeps_history),
        completer=_completer(commands),
        complete_while_typing=True,
        reserve_space_for_menu=min(len(commands), _MENU_LINES),
        key_bindings=_keys(),
        **streams,
    )

    def read() -> str:
        try:
            return session.prompt()
        except KeyboardInterrupt:
            raise Abandoned(was_empty=not session.default_buffer.text) from None

    return read


def _history(*, is_kept: bool) -> History:
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    class Kept(FileHistory):
        """One that goes on where the disk refuses a line, which is said once."""

        is_refused = False

        def store_string(self, string: str) -> None:
            try:
                super().store_string(string)
            except OSError as error:
                if not self.is_refused:
                    warn(f"prompts are not kept: {file}: {error.strerror or error}")
                self.is_refused = True

    if not is_kept:
        return InMemoryHistory()
    file = paths.chats() / "history"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # What one types to a model is nobody else's business.
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        warn(f"prompts are not kept: {file}: {error.strerror or error}")
        return InMemoryHistory()
    return Kept(str(file))


def _keys() -> KeyBindings:
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    @keys.add("c-j")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    return keys


def _completer(commands: Sequence[str]) -> Completer:
    from prompt_toolkit.completion import CompleteEvent, Completer, Completion
    from prompt_toolkit.document import Document

    class Commands(Completer):
        def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
            typed = document.text_before_cursor
            if typed.startswith("/"):
                found = (name for name in commands if name.startswith(typed))
                yield from (Completion(name, start_position=-len(typed)) for name in found)

    return Commands()
