"""The commands of the chat loop under their names, and the help that lists them."""

from __future__ import annotations

from edgelm.cli.chat import chat_commands, message_commands, model_commands
from edgelm.cli.chat.loop import ChatLoop, SlashCommand
from edgelm.cli.chat.model_commands import describe_settings
from edgelm.cli.show.output import say
from edgelm.conversation.commands import ALIASES as APP_ALIASES
from edgelm.conversation.commands import unknown_command


def _help(loop: ChatLoop, rest: str) -> None:
    if rest:
        _help_on(rest)
        return
    for title, commands in _GROUPS.items():
        say(f"{title}:")
        for name, command in commands.items():
            say(f"  {name:11} {command.help}")
    say(f"  {'//text':11} send a line that begins with a slash")
    say(
        "N is a number that /messages shows; without it, the last message is meant. @FILE in a prompt attaches a file."
    )
    say("/help COMMAND says more of one.")
    say(loop.keys)


def _help_on(text: str) -> None:
    """Say what one command does, with its aliases and whatever is to be known of it."""
    asked = f"/{text.lstrip('/').lower()}"
    name = _ALIASES.get(asked, asked)
    if name not in COMMANDS:
        raise unknown_command(name, COMMANDS)
    say(f"{name} {COMMANDS[name].help}")
    aliases = [alias for alias, meant in _ALIASES.items() if meant == name]
    if aliases:
        say(f"{', '.join(aliases)} does the same")
    for line in describe_settings() if name == "/set" else _MORE.get(name, ()):
        say(line)


_SAVED_FILES = (
    "/save writes what the model was told and said, as it stands: one conversation as plain messages (.json,",
    "the format of chat data, or .md), without a name in edgelm's own folder of chats.",
    "/export writes the chat as edgelm keeps it: with alternatives, ratings and settings (.json, which /import",
    "reads back), or as text (.md). Neither writes over a file that is there.",
)
_MORE = {"/save": _SAVED_FILES, "/export": _SAVED_FILES}
_GROUPS = {
    "messages": message_commands.COMMANDS,
    "chats": chat_commands.COMMANDS,
    "model": model_commands.COMMANDS,
    "more": {
        "/help": SlashCommand("[COMMAND]  this list, or what a command does", _help),
        "/quit": SlashCommand("leave; /exit too", lambda loop, _: loop.leave()),
    },
}
COMMANDS = {name: command for commands in _GROUPS.values() for name, command in commands.items()}
_ALIASES = {**APP_ALIASES, "/settings": "/set", "/previous": "/prev"}
WITH_ALIASES = {**COMMANDS, **{alias: COMMANDS[name] for alias, name in _ALIASES.items()}}
