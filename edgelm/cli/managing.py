"""`edgelm models remove|rename|copy`, and the same of adapters: what depends on it is said before."""

from __future__ import annotations

import argparse
import shlex
from functools import partial
from pathlib import Path
from typing import Any, Literal

from edgelm.cli.parsing.actions import add_action
from edgelm.cli.parsing.confirm import add_yes, confirmed
from edgelm.cli.show.output import print_json, say, warn
from edgelm.units import format_bytes

Kind = Literal["model", "adapter"]


def add_managing(actions: Any, kind: Kind) -> None:
    """Declare remove, rename and copy."""
    remove = add_action(
        actions, "remove", f"delete {kind}s of the library", partial(_remove, kind), aliases=("rm", "delete")
    )
    remove.add_argument("names", metavar="NAME", nargs="+", help="a name from the library")
    add_yes(remove)
    for name, aliases, act, text in (
        ("rename", ("mv",), _rename, f"call {_one(kind)} of the library something else"),
        ("copy", ("cp",), _copy, f"make a second one of {_one(kind)}, under another name"),
    ):
        action = add_action(actions, name, text, partial(act, kind), aliases=aliases)
        action.add_argument("old", metavar="NAME", help="a name from the library")
        action.add_argument("new", metavar="NEW", help="letters, digits and ._+-")


def _one(kind: Kind) -> str:
    return "an adapter" if kind == "adapter" else "a model"


def library_of(kind: Kind) -> Path:
    """Return the directory where things of that kind are."""
    from edgelm import paths

    return paths.models() if kind == "model" else paths.adapters()


def _remove(kind: Kind, arguments: argparse.Namespace) -> None:
    from edgelm.library.models import remove_directory
    from edgelm.library.references import find_named

    found = list(dict.fromkeys(_with_hint(kind, name, find_named) for name in arguments.names))
    sizes = {path: sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) for path in found}
    depending = _say_dependents(found)
    shown = ", ".join(f"{path.name} ({format_bytes(sizes[path])})" for path in found)
    question = f"Remove {shown}" + (", on which these depend?" if depending else "?")
    if not confirmed(question, yes=arguments.yes):
        say("nothing was removed")
        return
    freed = {path: remove_directory(path) for path in found}
    if arguments.json:
        print_json([{"name": path.name, "freed_bytes": size} for path, size in freed.items()])
        return
    for path, size in freed.items():
        print(f"removed {path.name}: {format_bytes(size)} freed")
    if kind == "model" and any(size < sizes[path] / 2 for path, size in freed.items()):
        say("what was downloaded is still in the Hugging Face cache, which other tools share: hf cache ls")


def _with_hint(kind: Kind, name: str, find: Any) -> Path:
    """A directory by its name; where it is of the other kind, that is said."""
    from edgelm.errors import NotFoundError

    try:
        found: Path = find(library_of(kind), name, kind)
    except NotFoundError as error:
        other: Kind = "adapter" if kind == "model" else "model"
        if "/" not in name and (library_of(other) / name).is_dir():
            raise NotFoundError(
                error.message, hint=f"edgelm {other}s remove {shlex.quote(name)}: it is {_one(other)}"
            ) from None
        raise
    return found


def _say_dependents(found: list[Path]) -> bool:
    """Warn of what would be left without its base; what is removed along with it does not count."""
    from edgelm.library.references import built_on

    gone = {path.name for path in found}
    depending = False
    for path in found:
        others = [other for other in built_on(path) if other.partition(" ")[2] not in gone]
        adapters = [other for other in others if other.startswith("adapter ")]
        if adapters:
            depending = True
            warn(f"without {path.name} nothing runs {', '.join(adapters)}")
        if models := [other for other in others if other not in adapters]:
            say(f"{', '.join(models)} came of {path.name}, and needs it no more")
    return depending


def _rename(kind: Kind, arguments: argparse.Namespace) -> None:
    from edgelm.library.recent import rename_use
    from edgelm.library.references import find_named, rename

    old = find_named(library_of(kind), arguments.old, kind).name
    made = rename(library_of(kind), arguments.old, arguments.new, kind)
    if kind == "model":
        rename_use(old, made.name)
    _say_made(made, arguments)


def _copy(kind: Kind, arguments: argparse.Namespace) -> None:
    from edgelm.library.references import copy

    _say_made(copy(library_of(kind), arguments.old, arguments.new, kind), arguments)


def _say_made(made: Path, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print_json({"name": made.name, "directory": made})
    else:
        print(made)
