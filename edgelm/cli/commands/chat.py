"""`edgelm chat`: a conversation at a prompt, or one answer.

The prompt comes from -p, from stdin, or both (stdin then follows -p as the document it speaks of). Without
either, on a terminal, it opens the chat loop.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
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
from edgelm.cli.parsing.default_model import choose_model, named_model
from edgelm.cli.parsing.texts import check_text, read_stdin, text_or_file
from edgelm.cli.show.output import ERASE_LINE, dim, is_terminal, say, warn
from edgelm.cli.show.progress_bars import progress_bars
from edgelm.errors import OptionError, PromptError
from edgelm.progress import Progress
from edgelm.units import count

if TYPE_CHECKING:
    from edgelm.cli.chat.chat_recorder import ChatRecorder
    from edgelm.cli.chat.chat_session import ChatSession
    from edgelm.cli.chat.loop import ChatLoop
    from edgelm.conversation.model import ChatModel, ModelChat
    from edgelm.runtime.chat.tool_loop import ToolEvent
    from edgelm.runtime.events import Finished
    from edgelm.store.chat_schema import State
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
    is_kept = prompt is None or arguments.session is not None or arguments.log
    if prompt is not None and not is_kept:
        with closing(
            _session(
                named_model(arguments.model) or choose_model(), system, tools.values(), settings, arguments
            )
        ) as session:
            _answer_once(session.say(prompt, {}), arguments)
    else:
        _converse(prompt, system, tools.values(), settings, arguments)


def _session(
    name: str,
    system: str | None,
    tools: Iterable[Tool],
    settings: Mapping[str, Any],
    arguments: argparse.Namespace,
) -> ChatSession:
    from edgelm.cli.chat.chat_session import ChatSession

    return ChatSession(
        lambda wanted: _load(wanted, arguments),
        name,
        system=system,
        thinking=arguments.enable_thinking,
        settings=settings,
        tools=tools,
        approve=Approval(answer_reader(plain=arguments.plain)) if tools else None,
    )


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


def _load(name: str, arguments: argparse.Namespace) -> ChatModel:
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
    prompt: str | None,
    system: str | None,
    tools: Iterable[Tool],
    settings: Mapping[str, Any],
    arguments: argparse.Namespace,
) -> None:
    """Open or begin a saved chat; answer `prompt` in it and leave, or go on until the user leaves."""
    from edgelm.cli.chat.chat_recorder import ChatRecorder, find_chat

    edits = prompt is None and can_edit() and not arguments.plain
    with closing(_chats(arguments)) as chats:
        saved = None if arguments.session is None else find_chat(chats, arguments.session)
        name = named_model(arguments.model) or (saved and _usable(saved.model)) or choose_model()
        with (
            keep_typed_ahead() if edits else nullcontext(),
            closing(_session(name, system, tools, settings, arguments)) as session,
        ):
            recorder = ChatRecorder(chats, session, saved.id if saved else None)
            loop = _loop(session, recorder, arguments, edits=edits)
            _adopt_settings(loop, system, arguments)
            if prompt is None:
                _greet(loop)
                loop.run()
            else:
                loop.answer(prompt, (), lambda events: _answered(events, arguments))


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


def _loop(
    session: ChatSession, recorder: ChatRecorder, arguments: argparse.Namespace, *, edits: bool
) -> ChatLoop:
    from edgelm.cli.chat.command_list import COMMANDS, WITH_ALIASES
    from edgelm.cli.chat.loop import ChatLoop

    return ChatLoop(
        session=session,
        read=editing_reader(tuple(COMMANDS), keeps_history=recorder.chats.is_kept) if edits else plain_reader,
        keys=EDITING_KEYS if edits else PLAIN_KEYS,
        recorder=recorder,
        commands=WITH_ALIASES,
        thinking=arguments.thinking,
        plain=arguments.plain,
        show_cost=sys.stderr.isatty(),
        calls=arguments.tools is None,
    )


def _adopt_settings(loop: ChatLoop, system: str | None, arguments: argparse.Namespace) -> None:
    """Let the settings of a saved chat count, but where the command line says otherwise."""
    from edgelm.conversation.settings import ChatSettings

    flags = said_settings(arguments)
    over = {*flags, *({"temperature"} if flags.get("greedy") else ())}
    if {arguments.schema, arguments.regex, arguments.grammar} != {None}:
        over.add("schema")
    if arguments.adapter is not None:
        over |= {"adapter", "adapter_scale"}
    given = {"system": system, "thinking": arguments.enable_thinking}
    saved = loop.recorder.conversation.settings.changes(ChatSettings())
    values = {name: value for name, value in saved.items() if name not in over}
    values |= {name: value for name, value in given.items() if value is not None}
    loop.use_settings(ChatSettings.over(ChatSettings(), values))
    if system is not None:
        loop.recorder.keep(system=system)
    loop.follow()


def _greet(loop: ChatLoop) -> None:
    model, chat = loop.session.model, loop.session.chat
    context = f", context {count(model.context_length, 'token')}" if model.context_length else ""
    say(f"{model.name}{context}; /help lists the commands, Ctrl-D leaves")
    if chat.messages:
        say(f"going on after {count(len(chat.messages), 'message')}; the last: {_last_words(chat)}")
    if files := loop.recorder.attachments:
        say(f"{count(len(files), 'file')} attached before goes with the next prompt")


def _answered(events: Generator[ToolEvent, None, None], arguments: argparse.Namespace) -> State:
    finished = _answer_once(events, arguments)
    return "stopped" if finished is None else "length" if finished.reason == "length" else "complete"


def _usable(model: str | None) -> str | None:
    """The model a saved chat was with, unless it is gone."""
    from edgelm.errors import NotFoundError
    from edgelm.library.models import resolve

    try:
        return str(resolve(model)) if model else None
    except NotFoundError:
        say(f"{model} is no longer installed")
        return None


def _last_words(chat: ModelChat) -> str:
    words = " ".join(chat.messages[-1]["content"].split())
    return words if len(words) <= 70 else "…" + words[-70:]
