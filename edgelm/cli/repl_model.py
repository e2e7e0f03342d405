"""Commands of the chat loop that are about the model: which, its system prompt, sampling, thinking, adapters."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from edgelm import paths
from edgelm.cli.output import say, show_error
from edgelm.cli.repl_command import Command
from edgelm.errors import OptionError

if TYPE_CHECKING:
    from edgelm.cli.repl import Repl

_THINKING = {"on": True, "off": False, "auto": None}
_ELSEWHERE = ("system", "thinking", "adapter", "adapter_scale")
"""Settings with a command of their own."""


def _model(repl: Repl, name: str) -> None:
    if not name:
        from edgelm.model.library import installed

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
    name, _, value = rest.partition(" ")
    fields = [field.name for field in dataclasses.fields(repl.settings) if field.name not in _ELSEWHERE]
    if name and name not in fields:
        raise OptionError(f"there is no setting {name!r}, expected one of {', '.join(fields)}")
    if name:
        repl.settings = repl.settings.with_text(name, value)
        repl.journal.keep(**{name: getattr(repl.settings, name)})
    for field in [name] if name else fields:
        now = getattr(repl.settings, field)
        say(f"  {field} is {'not set' if now in (None, '') else now}")


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
        "[name value]  show the settings, or set one: temperature, top_p, max_tokens, seed, …", _set
    ),
    "/think": Command(
        "[on|off|auto]  let the model think before it answers; [show|hide]  its thinking", _think
    ),
    "/adapter": Command("[name weight]  show the adapters, or let one act with a weight; 0 is off", _adapter),
}
