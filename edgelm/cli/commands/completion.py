"""`edgelm completion SHELL`: the lines that make a shell complete commands, flags, models, adapters and runs."""

from __future__ import annotations

import argparse

EXAMPLES = (
    "edgelm completion zsh >> ~/.zshrc",
    "edgelm completion fish > ~/.config/fish/completions/edgelm.fish",
)
SHELLS = ("bash", "zsh", "fish")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help="bash, zsh or fish")


def run(arguments: argparse.Namespace) -> None:
    """Print the lines; the shell's start-up file evaluates them."""
    from argcomplete.shell_integration import shellcode

    print(shellcode(["edgelm"], shell=arguments.shell))
