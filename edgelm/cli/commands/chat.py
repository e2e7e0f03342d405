"""`edgelm chat`: a conversation at a prompt, or one answer.

The prompt comes from -p, from stdin, or both (stdin then follows -p as the document it speaks of). Without
either, on a terminal, it opens the chat loop.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelm.cli.chat.approval import require_someone_to_ask
from edgelm.cli.chat.conversing import begin_session, converse
from edgelm.cli.chat.flags import add_arguments
from edgelm.cli.parsing.answer_flags import said_settings
from edgelm.cli.parsing.answer_form import form_of_answer
from edgelm.cli.parsing.default_model import choose_model, named_model
from edgelm.cli.parsing.texts import check_text, read_stdin, text_or_file
from edgelm.errors import OptionError, PromptError

if TYPE_CHECKING:
    from edgelm.runtime.chat.tool_loop import ToolEvent
    from edgelm.runtime.events import Finished
    from edgelm.store.chat_schema import State
    from edgelm.text.tools.tool import Tool

__all__ = ["EXAMPLES", "add_arguments", "run"]

EXAMPLES = (
    "edgelm chat",
    "edgelm chat smollm2-135m-instruct-4bit -p 'Why is the sky blue?'",
    "git diff | edgelm chat -p 'Write a commit message for this change.'",
)


def run(arguments: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        PromptError: the prompt is empty, or longer than the model's context.
        FormatError: stdin is not UTF-8.
        OptionError: a setting out of bounds, --json without a prompt, --tools where nobody can be asked.
        UnsupportedError: a schema that cannot be enforced, tools for a model that knows none.
        NotFoundError: no such model or saved chat, or none; no such file.
    """
    if arguments.persona is not None:
        from edgelm.cli.commands.personas import adopt_persona

        adopt_persona(arguments.persona, arguments)
    settings = _settings(arguments)
    tools = _tools(arguments.tools)
    if tools and settings["grammar"] is not None:
        raise OptionError("--tools is given with a form of the answer, which leaves no room for calls")
    system = None if arguments.system is None else text_or_file(arguments.system, "--system")
    prompt = _prompt(arguments.prompt)
    if prompt is None and arguments.json:
        raise OptionError("--json needs a prompt, given none", hint="give one with -p or on stdin")
    if arguments.thinking is None:
        arguments.thinking = sys.stdout.isatty()
    if prompt is None or arguments.session is not None or arguments.log:
        show = None if prompt is None else lambda events: _answered(events, arguments)
        converse(prompt, system, tools, settings, arguments, show)
        return
    name = named_model(arguments.model) or choose_model()
    with closing(begin_session(name, system, tools, settings, arguments)) as session:
        _answer_once(session.say(prompt, {}), arguments)


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings that flags give; checked here, before a model is loaded for nothing."""
    from edgelm.runtime.generation.options import GenerationOptions
    from edgelm.zoo.caches.settings import CacheSettings

    CacheSettings.from_flags(arguments)
    settings = {
        **said_settings(arguments),
        "speculation": arguments.speculation,
        "stop": tuple(check_text(text, "--stop") for text in arguments.stop),
        "grammar": form_of_answer(schema=arguments.schema, regex=arguments.regex, grammar=arguments.grammar),
    }
    GenerationOptions().changed(**settings)
    return settings


def _tools(file: Path | None) -> list[Tool]:
    from edgelm.text.tools.load import load_tools

    if file is None:
        return []
    require_someone_to_ask()
    return list(load_tools(file).values())


def _prompt(given: str | None) -> str | None:
    """The one prompt to answer, or None to converse."""
    piped = "" if sys.stdin is None or sys.stdin.isatty() else read_stdin()
    parts = [check_text(given, "-p")] if given is not None else []
    prompt = "\n\n".join([*parts, *([piped] if piped.strip() else [])])
    if prompt.strip():
        return prompt
    if given is None and sys.stdin is not None and sys.stdin.isatty():
        return None
    where = "stdin" if given is None else "-p"
    raise PromptError(
        f"the prompt on {where} is empty, expected text", hint="edgelm chat MODEL -p 'a question'"
    )


def _answer_once(events: Generator[ToolEvent, None, None], arguments: argparse.Namespace) -> Finished | None:
    from edgelm.cli.show.answer import TextAnswer, show_json, show_usage

    with closing(events):
        if arguments.json:
            return show_json(events)
        answer = TextAnswer(thinking=arguments.thinking, calls=arguments.tools is None, plain=arguments.plain)
        finished = answer.show(events)
    if finished and sys.stdout.isatty() and sys.stderr.isatty():
        show_usage(finished, plain=arguments.plain)
    return finished


def _answered(events: Generator[ToolEvent, None, None], arguments: argparse.Namespace) -> State:
    finished = _answer_once(events, arguments)
    return "stopped" if finished is None else "length" if finished.reason == "length" else "complete"
