"""`edgelm personas`: a system prompt and sampling under a name, for `edgelm chat --persona NAME`."""

from __future__ import annotations

import argparse
import shlex

from edgelm.cli.parsing.actions import add_action, add_json
from edgelm.cli.parsing.answer_flags import add_sampling, said_settings
from edgelm.cli.parsing.confirm import add_yes, confirmed
from edgelm.cli.parsing.texts import text_or_file
from edgelm.cli.show.facts import fact_lines
from edgelm.cli.show.output import print_json, say
from edgelm.errors import FormatError, OptionError

EXAMPLES = (
    "edgelm personas save editor --system @editor.txt --temperature 0.2",
    "edgelm chat --persona editor",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions."""
    add_json(parser)
    parser.set_defaults(action=_list)
    actions = parser.add_subparsers(metavar="ACTION")
    add_action(actions, "list", "list them", _list, aliases=("ls",))
    show = add_action(actions, "show", "print one", _show)
    show.add_argument("name", metavar="NAME")
    save = add_action(actions, "save", "keep a system prompt and sampling under a new name", _save)
    save.add_argument("name", metavar="NAME", help="letters, digits and ._+-")
    save.add_argument("--system", metavar="TEXT|@FILE", help="the system prompt; @FILE reads it from a file")
    save.add_argument("--force", action="store_true", help="replace the one of that name")
    add_sampling(save.add_argument_group("sampling"))
    remove = add_action(actions, "remove", "delete one", _remove, aliases=("rm", "delete"))
    remove.add_argument("name", metavar="NAME")
    add_yes(remove)


def run(arguments: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        NotFoundError: no such persona, or file of a system prompt.
        OptionError: a name or a setting that may not be, or none at all.
        OutputError: there is one of that name, or the disk refuses.
    """
    arguments.action(arguments)


def _list(arguments: argparse.Namespace) -> None:
    from edgelm.conversation.personas import persona_names, read_persona

    personas = {name: read_persona(name) for name in persona_names()}
    if arguments.json:
        print_json([{"name": name, **settings} for name, settings in personas.items()])
        return
    for name in personas:
        print(name)
    if not personas:
        say("no persona yet: edgelm personas save NAME --system TEXT makes one")


def _show(arguments: argparse.Namespace) -> None:
    from edgelm.conversation.personas import read_persona

    facts = {"name": arguments.name, **read_persona(arguments.name)}
    if arguments.json:
        print_json(facts)
        return
    for line in fact_lines(facts):
        print(line)


def _save(arguments: argparse.Namespace) -> None:
    from edgelm.conversation.personas import write_persona
    from edgelm.runtime.generation.options import GenerationOptions

    settings = said_settings(arguments)
    GenerationOptions().changed(**settings)
    system = None if arguments.system is None else text_or_file(arguments.system, "--system")
    persona = {**({"system": system} if system is not None else {}), **settings}
    if not persona:
        raise OptionError("nothing to save: no --system and no sampling")
    write_persona(arguments.name, persona, force=arguments.force)
    say(f"edgelm chat --persona {shlex.quote(arguments.name)}")


def _remove(arguments: argparse.Namespace) -> None:
    from edgelm.conversation.personas import read_persona, remove_persona

    read_persona(arguments.name)
    if confirmed(f"Remove {arguments.name}?", yes=arguments.yes):
        remove_persona(arguments.name)
        print(f"removed {arguments.name}")


def adopt_persona(name: str, arguments: argparse.Namespace) -> None:
    """Let what a persona says count as if its flags were given, where they were not.

    Raises:
        NotFoundError, FormatError: see `read_persona`; or it holds a setting that is none.
    """
    from edgelm.conversation.personas import persona_file, read_persona

    for key, value in read_persona(name).items():
        if not hasattr(arguments, key):
            raise FormatError(f"{persona_file(name)} has {key!r}, which is no setting of a chat")
        if key == "greedy":
            arguments.greedy = arguments.greedy or (bool(value) and arguments.temperature is None)
        elif getattr(arguments, key) is None and not (key == "temperature" and arguments.greedy):
            is_text = key == "system" and value.startswith("@")
            setattr(arguments, key, f"@{value}" if is_text else value)
