"""Settings: one line each, which is its type, default, help and bounds at once.

    @dataclass(frozen=True)
    class Sampling(Options):
        temperature: float = option(0.0, "randomness; 0 is greedy", ge=0, le=2)

A bad value is refused when the object is built, naming the setting, the value and what it may be.
The same line becomes a command-line flag through `add_flags`. Knows no setting of its own.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from edgelm.errors import OptionError


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of a setting: comparisons, or a list of choices."""

    help: str
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    choices: tuple[Any, ...] | None = None

    def describe(self) -> str:
        """Describe the bounds in words, for messages and `--help`."""
        if self.choices is not None:
            return "one of " + ", ".join(map(str, self.choices))
        signs = ((">=", self.ge), (">", self.gt), ("<=", self.le), ("<", self.lt))
        return " and ".join(f"{sign} {bound:g}" for sign, bound in signs if bound is not None)

    def admit(self, value: Any) -> bool:
        """Return whether `value` is inside; NaN and infinity never are."""
        if self.choices is not None:
            return value in self.choices
        if isinstance(value, float) and not math.isfinite(value):
            return False
        return not (
            (self.ge is not None and value < self.ge)
            or (self.gt is not None and value <= self.gt)
            or (self.le is not None and value > self.le)
            or (self.lt is not None and value >= self.lt)
        )


def option(
    default: Any,
    help: str,  # noqa: A002 - argparse's own word
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    choices: Iterable[Any] | None = None,
) -> Any:
    """Make a dataclass field with help and bounds. `choices` excludes the four comparisons."""
    bounds = Bounds(help, ge, gt, le, lt, tuple(choices) if choices is not None else None)
    return field(default=default, metadata={"bounds": bounds})


@dataclass(frozen=True)
class Options:
    """The base of settings classes: every field is validated when one is built.

    Raises:
        OptionError: a value of the wrong type or out of bounds.
    """

    _kinds: ClassVar[dict[str, tuple[type, ...]]]

    def __post_init__(self) -> None:
        kinds = _kinds_of(type(self))
        for item in dataclasses.fields(self):
            bounds = item.metadata.get("bounds")
            if bounds is not None:
                _check(item.name, getattr(self, item.name), bounds, kinds[item.name])

    @classmethod
    def add_flags(cls, parser: argparse._ActionsContainer, only: Iterable[str] | None = None) -> None:
        """Add a `--flag` for each setting of a plain type (or only those named)."""
        kinds = _kinds_of(cls)
        for item in dataclasses.fields(cls):
            bounds: Bounds | None = item.metadata.get("bounds")
            if bounds is None or (only is not None and item.name not in set(only)):
                continue
            kind = next(k for k in kinds[item.name] if k is not type(None))
            flag = "--" + item.name.replace("_", "-")
            text = _help_text(bounds, item.default)
            if kind is bool and str in kinds[item.name]:
                words = [choice for choice in bounds.choices or () if isinstance(choice, str)]
                parser.add_argument(flag, action=OnOffOrWord, words=words, default=None, help=text)
            elif kind is bool:
                parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=text)
            elif bounds.choices is not None:
                parser.add_argument(flag, type=kind, default=None, choices=bounds.choices, help=text)
            else:
                parser.add_argument(flag, type=kind, default=None, metavar=kind.__name__.upper(), help=text)

    @classmethod
    def from_flags(cls, arguments: argparse.Namespace, **given: Any) -> Self:
        """Build from parsed flags: a flag not given leaves the default."""
        names = {item.name for item in dataclasses.fields(cls)}
        values = {k: v for k, v in vars(arguments).items() if k in names and v is not None}
        return cls(**{**values, **given})


class OnOffOrWord(argparse.BooleanOptionalAction):
    """`--flag`, `--no-flag`, `--flag-WORD`, and `--flag WORD` where a parser asks `joined` first.

    argparse's optional value would take whatever follows the flag, a positional argument too.
    """

    def __init__(self, option_strings: Any, dest: str, words: Iterable[str] = (), **named: Any) -> None:
        super().__init__(option_strings, dest, **named)
        self._words = {f"{flag}-{word}": word for flag in option_strings for word in words}
        self.option_strings = [*self.option_strings, *self._words]

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if option_string in self._words:
            setattr(namespace, self.dest, self._words[option_string])
        else:
            super().__call__(parser, namespace, values, option_string)

    def joined(self, arguments: Iterable[str]) -> list[str]:
        """Return `arguments` with `--flag WORD` and `--flag=WORD` as one flag where it is one of the words."""
        found: list[str] = []
        for argument in arguments:
            if found and f"{found[-1]}-{argument}" in self._words:
                found[-1] = f"{found[-1]}-{argument}"
            else:
                one = argument.replace("=", "-", 1)
                found.append(one if one in self._words else argument)
        return found


def check_type(name: str, value: Any, *kinds: type, wanted: str | None = None) -> None:
    """Refuse an argument of another type; a bool is no int.

    Args:
        wanted: the kinds in words.

    Raises:
        OptionError: it names the argument, the value and what was expected.
    """
    is_stray_bool = isinstance(value, bool) and bool not in kinds
    if is_stray_bool or not isinstance(value, kinds):
        names = " or ".join("None" if kind is type(None) else kind.__name__ for kind in kinds)
        raise OptionError(f"{name} is {shorten(value)}, expected {wanted or names}")


def check_callable(name: str, value: Any) -> None:
    """Refuse what cannot be called.

    Raises:
        OptionError: it cannot.
    """
    if not callable(value):
        raise OptionError(f"{name} is {shorten(value)}, expected a function")


def shorten(value: object) -> str:
    """Return a value as Python writes it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def check_names(given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse names of settings that do not exist.

    Raises:
        OptionError: the first that is not `known`, with the one that may have been meant.
    """
    names = sorted(set(known))
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
            raise OptionError(f"there is no setting {name!r}", hint=hint)


def _kinds_of(cls: type) -> dict[str, tuple[type, ...]]:
    """The plain types that each field admits, by field name."""
    hints = typing.get_type_hints(cls)
    return {item.name: tuple(_flatten(hints[item.name])) for item in dataclasses.fields(cls)}


def _flatten(hint: Any) -> list[type]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [kind for part in typing.get_args(hint) for kind in _flatten(part)]
    if typing.get_origin(hint) is typing.Literal:
        return sorted({type(value) for value in typing.get_args(hint)}, key=str)
    origin = typing.get_origin(hint)
    return [origin if origin is not None else hint]


def _check(name: str, value: Any, bounds: Bounds, kinds: tuple[type, ...]) -> None:
    if value is None and type(None) in kinds:
        return
    # bool is an int to Python and never a number to a user; an int is a fine float.
    admitted = (*kinds, int) if float in kinds else kinds
    is_stray_bool = isinstance(value, bool) and bool not in kinds
    if is_stray_bool or not isinstance(value, admitted):
        wanted = " or ".join(kind.__name__ for kind in kinds if kind is not type(None))
        raise OptionError(f"{name} is {value!r}, expected {wanted}", settings=(name,))
    if not bounds.admit(value):
        raise OptionError(
            f"{name} is {value!r}, expected {bounds.describe() or 'a finite number'}", settings=(name,)
        )


def _help_text(bounds: Bounds, default: Any) -> str:
    limits = bounds.describe() if bounds.choices is None else ""  # argparse lists choices beside the flag
    shown = "" if default is None else f"default {default}"
    inner = "; ".join(part for part in (limits, shown) if part)
    return f"{bounds.help} ({inner})" if inner else bounds.help
