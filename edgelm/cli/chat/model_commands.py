"""Commands of the chat loop that are about the model: which, its system prompt, sampling, thinking, adapters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from edgelm import paths
from edgelm.cli.chat.loop import ChatLoop, SlashCommand
from edgelm.cli.parsing.nearest import did_you_mean
from edgelm.cli.show.output import say, show_error
from edgelm.conversation.question import checked_schema
from edgelm.conversation.settings import ChatSettings
from edgelm.errors import OptionError

_THINKING = {"on": True, "off": False, "auto": None}
_ELSEWHERE = {"system": "system", "thinking": "think", "adapter": "adapter", "adapter_scale": "adapter"}
"""Settings with a command of their own → the command."""


def _model(loop: ChatLoop, name: str) -> None:
    if not name:
        from edgelm.library.models import installed

        for model in installed():
            say(f"  {model.name}" + (" (in use)" if model.name == loop.session.name else ""))
        return
    try:
        loop.session.change_model(name)
    except KeyboardInterrupt:
        say(f"stopped; the chat goes on with {loop.session.name}")
        return
    say(f"the chat goes on with {loop.session.name}")


def _system(loop: ChatLoop, text: str) -> None:
    if text:
        loop.change_settings(system=text)
        say("the system prompt is set")
    else:
        say(loop.settings.system or "there is no system prompt")


def _set(loop: ChatLoop, rest: str) -> None:
    words = re.split(r"[\s=]+", rest, maxsplit=1)
    name, value = words[0].replace("-", "_"), "".join(words[1:])
    if name:
        _set_one(loop, name, value)
    for setting in [name] if name else _settable():
        now = loop.settings.value(setting)
        say(f"  {setting} is {'not set' if now in (None, '') else now}")
    if not name:
        say("/set NAME VALUE sets one, /set NAME unsets it; /help set says what each may be")


def _set_one(loop: ChatLoop, name: str, text: str) -> None:
    """Set a setting of the chat and its next answers, checked; no text unsets it."""
    if name in _ELSEWHERE:
        raise OptionError(f"{name} is not set with /set", hint=f"/{_ELSEWHERE[name]} sets it")
    if name not in _settable():
        near = did_you_mean(name, _settable())
        raise OptionError(f"there is no setting {name!r}{near}", hint=f"there are {', '.join(_settable())}")
    changed = loop.settings.with_text(name, checked_schema(text) if name == "schema" else text)
    loop.change_settings(**{name: changed.value(name)})


def _settable() -> list[str]:
    return [name for name in ChatSettings.names() if name not in _ELSEWHERE]


def describe_settings() -> Iterator[str]:
    """Yield a line for each thing that /set can set: its name, what it does, and what it may be."""
    for name in _settable():
        bounds = ChatSettings.bounds(name)
        limits = bounds.describe()
        yield f"  {name:18} {bounds.help}" + (f" ({limits})" if limits else "")


def _think(loop: ChatLoop, wish: str) -> None:
    if not loop.session.chat.can_think:
        say("this model has no thinking to switch")
        return
    if wish in _THINKING:
        loop.change_settings(thinking=_THINKING[wish])
    elif wish in ("show", "hide"):
        loop.thinking = wish == "show"
    elif wish:
        show_error(f"/think is {wish!r}, expected on, off, auto, show or hide")
        return
    mode = next(name for name, value in _THINKING.items() if value is loop.settings.thinking)
    say(f"thinking is {mode} and {'shown' if loop.thinking else 'hidden'}")


def _adapter(loop: ChatLoop, rest: str) -> None:
    name, _, weight = rest.rpartition(" ")
    if name:
        loop.session.weigh_adapter(name, _number(weight))
        directory = next(
            (path for path in (Path(name).expanduser(), paths.adapters() / name) if path.is_dir()), None
        )
        if directory is not None and 0 <= _number(weight) <= 2:  # what the app can show
            loop.change_settings(adapter=str(directory.absolute()), adapter_scale=_number(weight))
    elif rest:
        raise OptionError(f"no weight is given for {rest!r}", hint=f"/adapter {rest} 1")
    adapters = loop.session.model.adapters
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
    "/model": SlashCommand("[name]  go on with another model; without a name, list them", _model),
    "/system": SlashCommand("[text]  show or set the system prompt", _system),
    "/set": SlashCommand(
        "[name [value]]  show the settings, or set one: temperature, top_p, seed, schema, …; without a value, unset it",
        _set,
    ),
    "/think": SlashCommand(
        "[on|off|auto]  let the model think before it answers; [show|hide]  its thinking", _think
    ),
    "/adapter": SlashCommand(
        "[name weight]  show the adapters, or let one act with a weight; 0 is off", _adapter
    ),
}
