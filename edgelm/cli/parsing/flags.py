"""Settings named as the command line names them: `learning_rate` is `--learning-rate` there.

Settings refuse their own values, under their own names, for Python and the command line alike; here the name that was
typed takes their place. Knows no command.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping

from edgelm.errors import OptionError

_ALIASES = {
    "for_s": "--for",
    "for": "--for",
    "depths": "--depth",
    "grammar": "--grammar",
    "target": "--targets",
}
_LEADING = re.compile(r"^(?:the )?\w+(?:(?:, | and )\w+)*(?= (?:is|are|exclude)\b)")
"""`bits is …`, `epochs and steps are given …`."""
_QUOTED = re.compile(r"('[^']*'|\"[^\"]*\")")


def flags_of(parser: argparse.ArgumentParser) -> dict[str, str]:
    """Setting → its flag, the longest where there are several."""
    found: dict[str, str] = {}
    for action in parser._actions:
        flags = [flag for flag in action.option_strings if not flag.startswith("--no-")]
        if flags:
            found.setdefault(action.dest, max(flags, key=len))
    return {**{name: flag for name, flag in _ALIASES.items() if flag in found.values()}, **found}


def in_flags(error: OptionError, flags: Mapping[str, str]) -> str:
    """Say the message of `error` with flags for settings, outside quotes."""
    leading = _LEADING.match(error.message)
    named = re.findall(r"\w+", leading[0]) if leading else []
    wanted = {name for name in flags if "_" in name or name in error.settings}
    beginning = leading[0] if leading else ""
    rest = error.message[len(beginning) :]
    return _replaced(beginning, wanted | set(named) & flags.keys(), flags) + _replaced(rest, wanted, flags)


def _replaced(text: str, names: Iterable[str], flags: Mapping[str, str]) -> str:
    if not (known := sorted(names, key=len, reverse=True)):
        return text
    pattern = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, known))})(?![\w])")
    parts = _QUOTED.split(text)
    for at in range(0, len(parts), 2):
        parts[at] = pattern.sub(lambda found: flags[found[0]], parts[at])
    return "".join(parts)


def refuse_together(arguments: argparse.Namespace, reason: str, *settings: str) -> None:
    """Refuse flags that were typed and do not go with what `reason` names.

    Raises:
        OptionError: naming each of them.
    """
    given: Mapping[str, str] = getattr(arguments, "flags_given", {})
    typed = [given[name] for name in settings if name in given]
    if typed:
        verb = "does" if len(typed) == 1 else "do"
        raise OptionError(f"{' and '.join(typed)} {verb} not go with {reason}")
