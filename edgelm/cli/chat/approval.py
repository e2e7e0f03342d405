"""Asks the user before a function that the model calls is run. Knows no terminal: answers come from a reader."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from edgelm.cli.chat.line_readers import can_edit
from edgelm.cli.show.output import paint, say
from edgelm.errors import OptionError

if TYPE_CHECKING:
    from edgelm.text.tools.tool import Tool

ReadAnswer = Callable[[str], str]
"""Shows a question and returns the line that answers it; raises EOFError where none comes."""

_BOLD = "1"
# A call is the model's text: it must not steer the terminal.
_CONTROLS = {code: f"\\x{code:02x}" for code in [*range(32), *range(0x7F, 0xA0)]}


class Approval:
    """Whether a call may run: yes, no, or always for this function. No answer is no."""

    def __init__(self, read: ReadAnswer) -> None:
        self._read = read
        self._always: set[str] = set()

    def __call__(self, tool: Tool, arguments: Mapping[str, Any]) -> bool:
        """Show the call, and ask unless the function may always run."""
        say(paint(describe_call(tool.name, arguments), _BOLD, sys.stderr))
        if tool.name in self._always:
            return True
        while True:
            try:
                answer = self._read("run it? [y]es, [n]o, [a]lways: ").strip().lower()
            except EOFError:
                say("(no answer: it is not run)")
                return False
            if answer in ("a", "always"):
                self._always.add(tool.name)
            if answer in ("y", "yes", "a", "always"):
                return True
            if answer in ("n", "no"):
                return False


def describe_call(name: str, arguments: Mapping[str, Any]) -> str:
    """Write a call on one line: `f(city="Paris", days=3)`."""
    given = (f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in arguments.items())
    return f"{name}({', '.join(given)})".translate(_CONTROLS)


def require_someone_to_ask() -> None:
    """Refuse where no answer can come.

    Raises:
        OptionError: stdin is not a terminal.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        raise OptionError(
            "--tools asks before each function is run, and stdin is not a terminal",
            hint="give the prompt with -p, on a terminal",
        )


def answer_reader(*, plain: bool) -> ReadAnswer:
    """Reads a line from the terminal: with an editing prompt, which works while the chat has the keys in hand."""
    return _typed if plain or not can_edit() else _edited


def _edited(question: str) -> str:
    from prompt_toolkit import prompt

    return prompt(question)


def _typed(question: str) -> str:
    sys.stderr.write(question)
    sys.stderr.flush()
    return input()
