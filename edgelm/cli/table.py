"""Every command in one table, a line each; `edgelm --help` prints it without importing any of them.

A command's module has `EXAMPLES`, `add_arguments(parser)` and `run(arguments)`; it is imported when the command is asked for.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast


class CommandModule(Protocol):
    """What the module of a command holds."""

    EXAMPLES: Sequence[str]
    """Command lines that `--help` ends with."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's flags."""

    def run(self, arguments: argparse.Namespace) -> None:
        """Run the command."""


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """One command; its module is `edgelm.cli.commands.<name>`."""

    name: str
    help: str

    def load(self) -> CommandModule:
        """Import the command's module."""
        return cast(CommandModule, importlib.import_module(f"edgelm.cli.commands.{self.name}"))


COMMANDS = (
    CommandEntry("convert", "turn published weights into a quantized MLX model"),
    CommandEntry("chat", "talk to a model, or ask it one thing"),
    CommandEntry("chats", "list, search, print, export and remove saved chats"),
    CommandEntry("personas", "keep system prompts and sampling under names"),
    CommandEntry("generate", "answer a file of prompts, many at once"),
    CommandEntry("serve", "serve models to editors, agents and scripts over the APIs they know"),
    CommandEntry("launch", "start a coding agent on a model of this machine"),
    CommandEntry("models", "list, inspect, download and remove models"),
    CommandEntry("data", "check training data, and see what of it is trained"),
    CommandEntry("plan", "say whether a model fits and how fast it can be"),
    CommandEntry("tune", "teach a model from examples"),
    CommandEntry("runs", "list, compare, plot and delete training runs"),
    CommandEntry("adapters", "list, fuse, merge and exchange what was trained"),
    CommandEntry("export", "write a model as a GGUF file for llama.cpp, Ollama and LM Studio"),
    CommandEntry("bench", "measure prefill and decode at several depths"),
    CommandEntry("eval", "measure perplexity, the distance to another model, and lm-eval tasks"),
    CommandEntry("arena", "compare answers blind, and say with intervals which model is better"),
    CommandEntry("quantize", "compare ways to quantize a model: size against loss"),
    CommandEntry("completion", "let a shell complete commands, flags and names"),
    CommandEntry("doctor", "report what this machine is and what it lacks"),
)

ALIASES = {"ls": ("models", "list"), "rm": ("models", "remove")}
"""Commands of one word → the command and action they stand for."""
