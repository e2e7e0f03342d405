"""argparse with edgelm's way of showing an error: one line, the nearest flag, action or choice, exit code 2.

argparse's own `suggest_on_error` is of Python 3.14 and knows choices only. No abbreviated flags, which break when one
is added. Knows no command.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn

from edgelm.cli.parsing.nearest import did_you_mean
from edgelm.cli.show.output import show_error
from edgelm.options import OnOffOrWord

USAGE_EXIT_CODE = 2


class Parser(argparse.ArgumentParser):
    """A parser of one command or action; its actions are parsers of this class too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})
        self._words: list[str] = []
        self.passes_on = False
        """Whether words behind `--` are another program's: they become the namespace's `passed_on`."""
        self.action_unsaid: str | None = None
        """The action that is meant where words are given and the first of them is none."""

    def parse_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        """Parse as argparse does; what is given besides is one line of error."""
        found, rest = self.parse_known_args(args, namespace)
        if rest:
            self._refuse(rest)
        return found

    def parse_known_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        """Parse as argparse does. The namespace has `flags_given`, by setting, and `parser`, the one of the chosen action."""
        self._words = list(sys.argv[1:] if args is None else args)
        passed_on = self._take_passed_on()
        self._say_action()
        for action in self._actions:
            if isinstance(action, OnOffOrWord):
                self._words = action.joined(self._words)
        self._refuse_single_dash()
        found, rest = super().parse_known_args(self._words, namespace)
        # The innermost parser ends first: what an outer one adds stays beside it.
        given = {**self._given(), **getattr(found, "flags_given", {})}
        found.flags_given, found.parser = given, getattr(found, "parser", self)
        if self.passes_on:
            found.passed_on = passed_on
        return found, rest

    def _say_action(self) -> None:
        given = [word for word in self._words if not word.startswith("-")]
        if self.action_unsaid and given and given[0] not in self._action_names():
            self._words.insert(0, self.action_unsaid)

    def _action_names(self) -> list[str]:
        choices = (a.choices or () for a in self._actions if isinstance(a, argparse._SubParsersAction))
        return [name for names in choices for name in names]

    def _take_passed_on(self) -> list[str]:
        if not self.passes_on or "--" not in self._words:
            return []
        at = self._words.index("--")
        self._words, passed_on = self._words[:at], self._words[at + 1 :]
        return passed_on

    def error(self, message: str) -> NoReturn:
        """Print one line and a hint on stderr, exit code 2; a misspelt flag comes before what is missing without it."""
        if "arguments are required" in message or "expected " in message:
            message = self._unknown_flag() or message
        show_error(_in_words(message), f"{self.prog} --help says more")
        sys.exit(USAGE_EXIT_CODE)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        known = list(map(str, action.choices))
        if isinstance(action, argparse._SubParsersAction):
            self._fail(f"no action {value!r}{did_you_mean(str(value), known)}", known)
        near = did_you_mean(str(value), known)
        self.error(f"{_name(action)} is {value!r}{near or ','} expected one of {', '.join(known)}")

    def _fail(self, message: str, known: Sequence[str]) -> NoReturn:
        show_error(message, f"{self.prog} has {', '.join(known)}; {self.prog} --help says more")
        sys.exit(USAGE_EXIT_CODE)

    def _refuse(self, rest: Sequence[str]) -> NoReturn:
        self.error(self._unknown_flag() or f"unrecognized arguments: {' '.join(rest)}")

    def _unknown_flag(self) -> str | None:
        """What is wrong with the first word that looks like a flag and is none."""
        known = list(self._known_flags())
        for word in _flag_words(self._words):
            if word not in known:
                return f"unrecognized arguments: {word}{did_you_mean(word, known)}"
        return None

    def _refuse_single_dash(self) -> None:
        """`-output x` would be `-o utput`."""
        own = self._own_flags()
        for word in self._words:
            name = word.partition("=")[0]
            if name == "--":
                return
            if name.startswith("-") and not name.startswith("--") and len(name) > 2 and f"-{name}" in own:
                self.error(f"unrecognized arguments: {name}, did you mean -{name}?")

    def _own_flags(self) -> list[str]:
        return [flag for flag in self._option_string_actions if flag.startswith("--")]

    def _known_flags(self) -> Iterator[str]:
        """Own flags, and those of the action that was named."""
        yield from self._own_flags()
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                named = next((word for word in self._words if word in action.choices), None)
                if named is not None:
                    yield from action.choices[named]._known_flags()

    def _given(self) -> dict[str, str]:
        """Setting → the flag that says it, of the flags that were typed."""
        known = self._option_string_actions
        typed = [word.partition("=")[0] for word in self._words if word.startswith("-")]
        flags = [flag if flag in known or flag.startswith("--") else flag[:2] for flag in typed]
        return {known[flag].dest: flag for flag in flags if flag in known}


_WORDS = {"int": "a whole number", "float": "a number"}


def _in_words(message: str) -> str:
    """argparse's own messages in the words of the others."""
    if found := re.fullmatch(r"argument (\S+): invalid (\w+) value: (.*)", message, re.DOTALL):
        flag, kind, value = found.groups()
        return f"{flag.rpartition('/')[2]} is {value}, expected {_WORDS.get(kind, kind)}"
    if found := re.fullmatch(r"argument (\S+): (expected .*)", message):
        return f"{found[1].rpartition('/')[2]} stands alone, {found[2].replace('argument', 'value')}"
    if found := re.fullmatch(r"argument (\S+): not allowed with argument (\S+)", message):
        return f"{found[1].rpartition('/')[2]} and {found[2].rpartition('/')[2]} exclude each other"
    return message.replace("the following arguments are required: ", "not given: ")


def _name(action: argparse.Action) -> str:
    return max(action.option_strings, key=len, default=str(action.metavar or action.dest))


def _flag_words(words: Sequence[str]) -> Iterator[str]:
    for word in words:
        if word == "--":
            return
        if word.startswith("--"):
            yield word.partition("=")[0]


def make_parser(prog: str, description: str, examples: Sequence[str], epilog: str = "") -> Parser:
    """Make a parser whose help ends with examples."""
    lines = [f"  {example}" for example in examples]
    return Parser(
        prog=prog,
        description=description[0].upper() + description[1:] + ".",
        epilog="\n".join([*([epilog] if epilog else []), "examples:", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
