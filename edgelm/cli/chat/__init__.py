"""`edgelm chat`: a conversation at a prompt, or one answer.

The prompt comes from -p, from stdin, or both (stdin then follows -p as the document it speaks of). Without
either, on a terminal, it opens the chat loop.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelm.cli.chat.approval import Approval, answer_reader, require_someone_to_ask
from edgelm.cli.chat.flags import add_arguments
from edgelm.cli.chat.line_readers import (
    EDITING_KEYS,
    PLAIN_KEYS,
    can_edit,
    editing_reader,
    keep_typed_ahead,
    plain_reader,
)
from edgelm.cli.parsing.answer_flags import said_settings, say_recommended
from edgelm.cli.parsing.answer_form import form_of_answer
from edgelm.cli.parsing.default_model import choose_model
from edgelm.cli.parsing.texts import check_text, read_stdin, text_or_file
from edgelm.cli.show.output import ERASE_LINE, dim, is_terminal, say, warn
from edgelm.cli.show.progress_bars import progress_bars
from edgelm.errors import OptionError, PromptError
from edgelm.progress import Progress
from edgelm.units import count

if TYPE_CHECKING:
    from edgelm.cli.chat.chat_recorder import Journal
    from edgelm.cli.chat.chat_session import Ask, Begin, Talker, Turns
    from edgelm.cli.chat.loop import Repl
    from edgelm.runtime.chat.tool_loop import ToolEvent
    from edgelm.runtime.events import Finished
    from edgelm.store.chats import Chats
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
        from edgelm.cli.personas.files import adopt

        adopt(arguments.persona, arguments)
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
    begin = _begin(tools, settings, arguments)
    edits = prompt is None and can_edit() and not arguments.plain
    if prompt is not None and arguments.session is None and not arguments.log:
        with closing(_load(_named(arguments) or choose_model(), arguments)) as model:
            _, ask = begin(model, system, ())
            _answer_once(ask(prompt), arguments)
    else:
        _converse(prompt, system, begin, arguments, edits=edits)


def _begin(tools: dict[str, Tool], settings: dict[str, Any], arguments: argparse.Namespace) -> Begin:
    """How a conversation with a model begins."""

    def begin(model: Any, system: str | None, earlier: Turns) -> tuple[Any, Ask]:
        chat = model.chat(
            system=system, enable_thinking=arguments.enable_thinking, tools=tools.values(), messages=earlier
        )
        if arguments.enable_thinking is not None and not chat.can_think:
            warn(f"{model.name} has no thinking to switch")
        if tools:
            approve = Approval(answer_reader(plain=arguments.plain))
            return chat, partial(_overridden(chat.tool_events, settings), approve=approve)
        return chat, _overridden(chat.events, settings)

    return begin


def _overridden(ask: Ask, settings: dict[str, Any]) -> Ask:
    """`ask` with `settings`, over which a call may say otherwise."""

    def said(changes: dict[str, Any]) -> dict[str, Any]:
        gone = {"greedy"} if "temperature" in changes else set()
        return {name: value for name, value in {**settings, **changes}.items() if name not in gone}

    return lambda text, **changes: ask(text, **said(changes))


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Of one answer, as far as they are said; checked here, before a model is loaded for nothing."""
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


def _tools(file: Path | None) -> dict[str, Tool]:
    from edgelm.text.tools.load import load_tools

    if file is None:
        return {}
    require_someone_to_ask()
    return load_tools(file)


def _prompt(said: str | None) -> str | None:
    """The one prompt to answer, or None to converse."""
    piped = "" if sys.stdin is None or sys.stdin.isatty() else read_stdin()
    parts = [check_text(said, "-p")] if said is not None else []
    prompt = "\n\n".join([*parts, *([piped] if piped.strip() else [])])
    if prompt.strip():
        return prompt
    if said is None and sys.stdin is not None and sys.stdin.isatty():
        return None
    where = "stdin" if said is None else "-p"
    raise PromptError(
        f"the prompt on {where} is empty, expected text", hint="edgelm chat MODEL -p 'a question'"
    )


def _load(name: str, arguments: argparse.Namespace) -> Any:
    from edgelm.api import load
    from edgelm.library.recent import remember_model

    with _note(f"loading {name}", plain=arguments.plain) as erase, progress_bars() as show:

        def on_progress(report: Progress) -> None:
            erase()
            show(report)

        model = load(
            name,
            adapter=arguments.adapter,
            check_fit=not arguments.no_fit_check,
            draft=arguments.draft,
            disk_cache=arguments.disk_cache,
            kv_bits=arguments.kv_bits,
            kv_dtype=arguments.kv_dtype,
            dtype=arguments.dtype,
            max_context=arguments.max_context,
            wire=arguments.wire,
            on_progress=on_progress,
        )
    remember_model(model.name)
    say_recommended(model, said_settings(arguments))
    return model


@contextmanager
def _note(text: str, *, plain: bool) -> Iterator[Callable[[], None]]:
    """A line on the terminal until the block ends, or calls what it is given."""
    shown = not plain and is_terminal(sys.stderr)
    if plain and sys.stderr.isatty():
        say(text)

    def write(line: str) -> None:
        if shown:
            sys.stderr.write(line)
            sys.stderr.flush()

    def erase() -> None:
        nonlocal shown
        write(ERASE_LINE)
        shown = False

    write(dim(text, sys.stderr))
    try:
        yield erase
    finally:
        erase()


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


def _converse(
    prompt: str | None, system: str | None, begin: Begin, arguments: argparse.Namespace, *, edits: bool
) -> None:
    """Open or begin a saved chat; answer `prompt` in it and leave, or go on until the user leaves."""
    from edgelm.cli.chat.chat_recorder import Journal, find_session
    from edgelm.cli.chat.chat_session import Talker

    with closing(_chats(arguments)) as chats:
        session = None if arguments.session is None else find_session(chats, arguments.session)
        name = _named(arguments) or (session and _usable(session.model)) or choose_model()
        with (
            keep_typed_ahead() if edits else nullcontext(),
            closing(Talker(lambda wanted: _load(wanted, arguments), begin, name)) as talker,
        ):
            repl = _repl(talker, Journal(chats, talker.model.name, session), arguments, edits=edits)
            _adopt_settings(repl, system, arguments)
            if prompt is None:
                _greet(repl)
                repl.run()
            else:
                _answer_in_chat(repl, prompt, arguments)


def _chats(arguments: argparse.Namespace) -> Chats:
    """The saved chats; where none can be saved, said once, a place in memory that is gone with the process.

    Raises:
        OutputError: they cannot be opened, and one of them is to be gone on with.
    """
    from edgelm.errors import OutputError
    from edgelm.store.chats import IN_MEMORY, Chats

    try:
        return Chats()
    except OutputError as error:
        if arguments.session is not None:
            raise
        warn(f"nothing of this chat is saved: {error.message}")
        return Chats(IN_MEMORY)


def _repl(talker: Talker, journal: Journal, arguments: argparse.Namespace, *, edits: bool) -> Repl:
    from edgelm.cli.chat.loop import COMMANDS, Repl

    return Repl(
        talker=talker,
        read=editing_reader(tuple(COMMANDS), keeps_history=journal.is_kept) if edits else plain_reader,
        keys=EDITING_KEYS if edits else PLAIN_KEYS,
        journal=journal,
        thinking=arguments.thinking,
        plain=arguments.plain,
        show_cost=sys.stderr.isatty(),
        calls=arguments.tools is None,
    )


def _adopt_settings(repl: Repl, system: str | None, arguments: argparse.Namespace) -> None:
    """Those of a saved chat; what the command line says counts more."""
    from edgelm.cli.chat.chat_commands import adopt
    from edgelm_tui.settings import ChatSettings

    given = {"system": system, "thinking": arguments.enable_thinking}
    flags = said_settings(arguments)
    over = {*flags, *({"temperature"} if flags.get("greedy") else ())}
    if {arguments.schema, arguments.regex, arguments.grammar} != {None}:
        over.add("schema")
    if arguments.adapter is not None:
        over |= {"adapter", "adapter_scale"}
    said = {name: value for name, value in repl.journal.settings.items() if name not in over}
    said |= {name: value for name, value in given.items() if value is not None}
    repl.settings = ChatSettings.over(ChatSettings(), said)
    adopt(repl)
    if system is not None:
        repl.journal.keep(system=system)
    repl.talker.chat.replace(repl.journal.turns)


def _greet(repl: Repl) -> None:
    model, chat = repl.talker.model, repl.talker.chat
    context = f", context {count(model.context_length, 'token')}" if model.context_length else ""
    say(f"{model.name}{context}; /help lists the commands, Ctrl-D leaves")
    if chat.messages:
        say(f"going on after {count(len(chat.messages), 'message')}; the last: {_last_words(chat)}")


def _answer_in_chat(repl: Repl, prompt: str, arguments: argparse.Namespace) -> None:
    from edgelm.cli.chat.chat_recorder import shaping

    chat = repl.talker.chat
    known = len(chat.messages) + 1
    asked = repl.journal.say(prompt)
    finished: Finished | None = None
    try:
        finished = _answer_once(repl.talker.ask(prompt, **repl.generation()), arguments)
    finally:
        if asked is not None:
            usage = finished.usage if finished else None
            repl.journal.hear(
                asked,
                chat.messages[known:],
                "complete" if finished else "stopped",
                usage=usage,
                made_under=shaping(chat),
            )


def _named(arguments: argparse.Namespace) -> str | None:
    """The model that the command line names.

    Raises:
        OptionError: by nothing, as an empty variable of a shell does.
    """
    if arguments.model is not None and not arguments.model.strip():
        raise OptionError(
            "MODEL is empty, expected a name, a path or a Hub id", hint="edgelm models lists them"
        )
    name: str | None = arguments.model
    return name


def _usable(model: str | None) -> str | None:
    """The model a saved chat was with, unless it is gone."""
    from edgelm.errors import NotFoundError
    from edgelm.library.models import resolve

    try:
        return str(resolve(model)) if model else None
    except NotFoundError:
        say(f"{model} is no longer installed")
        return None


def _last_words(chat: Any) -> str:
    words = " ".join(chat.messages[-1]["content"].split())
    return words if len(words) <= 70 else "…" + words[-70:]
