"""What a shell is told may come next: argcomplete asks and answers.

The shell runs `edgelm` with `_ARGCOMPLETE` set, and only then is argcomplete imported. Names of models, adapters and runs
are read off folders, so that no key press waits for MLX.
"""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable, Iterator, Sequence

from edgelm.cli.table import ALIASES, COMMANDS, CommandEntry


def is_shell_asking() -> bool:
    """Tell whether a shell asks what may come next."""
    return "_ARGCOMPLETE" in os.environ


def answer_shell(top: argparse.ArgumentParser) -> None:
    """Tell the shell what may come next, and leave.

    Args:
        top: the parser of flags before the command.
    """
    import argcomplete

    actions = top.add_subparsers()
    commands = {command.name: command for command in COMMANDS}
    typed = _typed_command([*commands, *ALIASES])
    for name, command in commands.items():
        parser = actions.add_parser(name)
        if name == typed:  # the others need no flags now
            _fill(parser, command)
    for alias, (name, action) in ALIASES.items():
        whole = argparse.ArgumentParser(prog=f"edgelm {name}")
        if alias == typed:
            _fill(whole, commands[name])
        actions.add_parser(alias, parents=list(_actions_of(whole, action)), add_help=False)
    argcomplete.autocomplete(top)


def _fill(parser: argparse.ArgumentParser, command: CommandEntry) -> None:
    command.load().add_arguments(parser)
    _add_names(parser)


def _actions_of(parser: argparse.ArgumentParser, name: str) -> Iterator[argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield action.choices[name]


def _typed_command(commands: Sequence[str]) -> str | None:
    line = os.environ.get("COMP_LINE", "")[: int(os.environ.get("COMP_POINT", "0") or 0) or None]
    try:
        words = shlex.split(line)
    except ValueError:  # a quote that is still open
        words = line.split()
    return next((word for word in words[1:] if word in commands), None)


def _add_names(parser: argparse.ArgumentParser) -> None:
    """Let what names a model, an adapter or a run be completed by what is there."""
    kind = parser.prog.split()[-2:]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in dict.fromkeys(action.choices.values()):
                _add_names(inner)
        elif (names := _names_of(action, kind)) is not None:
            action.completer = names  # type: ignore[attr-defined]


def _names_of(action: argparse.Action, prog: Sequence[str]) -> Callable[..., list[str]] | None:
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    if metavar.startswith("ADAPTER") or metavar == "NAME[=WEIGHT]":
        return _listed("adapters")
    if metavar in ("MODEL", "SOURCE"):
        return _listed("models")
    if metavar == "RUN":
        return _listed("runs")
    if metavar == "NAME" and not action.option_strings:
        return _listed("adapters" if "adapters" in prog else "models")
    return None


def _listed(library: str) -> Callable[..., list[str]]:
    def names(**_: object) -> list[str]:
        from edgelm import paths
        from edgelm.library.names import directories

        return [path.name for path in directories(getattr(paths, library)())]

    return names
