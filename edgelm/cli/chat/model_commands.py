"""Commands of the chat loop that are about the model: which, its system prompt, sampling, thinking, adapters."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgelm import paths
from edgelm.cli.chat.command import Command
from edgelm.cli.parsing.nearest import did_you_mean
from edgelm.cli.show.output import say, show_error
from edgelm.errors import OptionError

if TYPE_CHECKING:
    from edgelm.cli.chat.loop import Repl

_THINKING = {"on": True, "off": False, "auto": None}
_ELSEWHERE = {"system": "system", "thinking": "think", "adapter": "adapter", "adapter_scale": "adapter"}
"""Settings with a command of their own → the command."""


def _model(repl: Repl, name: str) -> None:
    if not name:
        from edgelm.library.models import installed

        for model in installed():
            say(f"  {model.name}" + (" (in use)" if model.name == repl.talker.model.name else ""))
        return
    try:
        repl.talker.change_model(name)
    except KeyboardInterrupt:
        say(f"stopped; the chat goes on with {repl.talker.model.name}")
        return
    repl.journal.model = repl.talker.model.name
    say(f"the chat goes on with {repl.talker.model.name}")


def _system(repl: Repl, text: str) -> None:
    if text:
        repl.talker.chat.system = text
        repl.journal.keep(system=text)
        say("the system prompt is set")
    else:
        say(repl.talker.chat.system or "there is no system prompt")


def _set(repl: Repl, rest: str) -> None:
    words = re.split(r"[\s=]+", rest, maxsplit=1)
    name, value = words[0].replace("-", "_"), "".join(words[1:])
    if name:
        _set_one(repl, name, value)
    for field in [name] if name else _settable():
        now = getattr(repl.settings, field)
        say(f"  {field} is {'not set' if now in (None, '') else now}")
    if not name:
        say("/set NAME VALUE sets one, /set NAME unsets it; /help set says what each may be")


def _set_one(repl: Repl, name: str, text: str) -> None:
    """Set a setting of the chat and its next answers, checked; no text unsets it."""
    from edgelm_tui.engine.answering import checked_schema

    if name in _ELSEWHERE:
        raise OptionError(f"{name} is not set with /set", hint=f"/{_ELSEWHERE[name]} sets it")
    if name not in _settable():
        near = did_you_mean(name, _settable())
        raise OptionError(f"there is no setting {name!r}{near}", hint=f"there are {', '.join(_settable())}")
    repl.settings = repl.settings.with_text(name, checked_schema(text) if name == "schema" else text)
    repl.journal.keep(**{name: getattr(repl.settings, name)})


def _settable() -> list[str]:
    from edgelm_tui.settings import ChatSettings

    return [field.name for field in dataclasses.fields(ChatSettings) if field.name not in _ELSEWHERE]


def describe_settings() -> Iterator[str]:
    """A line for each thing that /set can set: its name, what it does, and what it may be."""
    from edgelm_tui.settings import ChatSettings

    for name in _settable():
        bounds = ChatSettings.__dataclass_fields__[name].metadata["bounds"]
        limits = bounds.describe()
        yield f"  {name:18} {bounds.help}" + (f" ({limits})" if limits else "")


def _think(repl: Repl, wish: str) -> None:
    chat = repl.talker.chat
    if not chat.can_think:
        say("this model has no thinking to switch")
        return
    if wish in _THINKING:
        chat.enable_thinking = _THINKING[wish]
        repl.journal.keep(thinking=chat.enable_thinking)
    elif wish in ("show", "hide"):
        repl.thinking = wish == "show"
    elif wish:
        show_error(f"/think is {wish!r}, expected on, off, auto, show or hide")
        return
    mode = next(name for name, value in _THINKING.items() if value is chat.enable_thinking)
    say(f"thinking is {mode} and {'shown' if repl.thinking else 'hidden'}")


def _adapter(repl: Repl, rest: str) -> None:
    name, _, weight = rest.rpartition(" ")
    if name:
        repl.talker.weigh_adapter(name, _number(weight))
        directory = next(
            (path for path in (Path(name).expanduser(), paths.adapters() / name) if path.is_dir()), None
        )
        if directory is not None and 0 <= _number(weight) <= 2:  # what the app can show
            repl.journal.keep(adapter=str(directory.absolute()), adapter_scale=_number(weight))
    elif rest:
        raise OptionError(f"no weight is given for {rest!r}", hint=f"/adapter {rest} 1")
    adapters = repl.talker.adapters
    for known, acts in adapters.items():
        say(f"  {known}  {acts:g}" if acts else f"  {known}  off")
    if not adapters:
        say("there is no adapter; /adapter NAME 1, or edgelm chat --adapter NAME, puts one on")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise OptionError(f"the weight is {text!r}, expected a number; 0 is off") from None


COMMANDS = {
    "/model": Command("[name]  go on with another model; without a name, list them", _model),
    "/system": Command("[text]  show or set the system prompt", _system),
    "/set": Command(
        "[name [value]]  show the settings, or set one: temperature, top_p, seed, schema, …; without a value, unset it",
        _set,
    ),
    "/think": Command(
        "[on|off|auto]  let the model think before it answers; [show|hide]  its thinking", _think
    ),
    "/adapter": Command("[name weight]  show the adapters, or let one act with a weight; 0 is off", _adapter),
}
