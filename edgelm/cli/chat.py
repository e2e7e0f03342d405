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

from edgelm.cli.approval import Approval, answer_reader, require_someone_to_ask
from edgelm.cli.choose import choose_model, remember_model
from edgelm.cli.form import form_of_answer
from edgelm.cli.line_readers import (
    EDITING_KEYS,
    PLAIN_KEYS,
    can_edit,
    editing_reader,
    keep_typed_ahead,
    plain_reader,
)
from edgelm.cli.output import ERASE_LINE, dim, is_terminal, progress_bars, say, warn
from edgelm.cli.stdin import check_text, read_stdin
from edgelm.errors import OptionError, PromptError
from edgelm.progress import Progress

if TYPE_CHECKING:
    from edgelm.cli.repl import Ask
    from edgelm.runtime.tool_loop import ToolEvent
    from edgelm.text.tools.tool import Tool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    from edgelm.runtime.sampling import Sampling

    add = parser.add_argument
    add("model", nargs="?", metavar="MODEL", help="a name from the library, a path, or a Hub id")
    add("-p", "--prompt", metavar="TEXT", help="answer this and leave; text on stdin is added after it")
    add("--system", metavar="TEXT", help="the system prompt")
    add("--adapter", type=Path, metavar="DIR", help="an adapter to put on the model")
    add("--max-tokens", type=int, metavar="N", help="stop an answer after so many tokens")
    add(
        "--stop",
        action="append",
        default=[],
        metavar="TEXT",
        help="stop where this text appears (repeatable)",
    )
    add(
        "--json", action="store_true", help="print events as JSON lines, with token/s and time to first token"
    )
    add("--plain", action="store_true", help="no colour and no redrawing, for screen readers and logs")
    add("--no-fit-check", action="store_true", help="load even if it would not fit in memory")
    thinking = parser.add_mutually_exclusive_group()
    shown = "what a model thinks before it answers (default: shown on a terminal)"
    thinking.add_argument("--show-thinking", dest="thinking", action="store_true", default=None, help=shown)
    thinking.add_argument("--hide-thinking", dest="thinking", action="store_false", default=None)
    add(
        "--think",
        dest="enable_thinking",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="let the model think before it answers, or not (default: as the model does by itself)",
    )
    add(
        "--tools",
        type=Path,
        metavar="FILE",
        help="a Python file with functions the model may call, when you agree",
    )
    _add_runtime_flags(parser.add_argument_group("speed and memory"))
    form = parser.add_argument_group("form of the answer").add_mutually_exclusive_group()
    form.add_argument("--schema", type=Path, metavar="FILE", help="valid by this JSON Schema")
    form.add_argument("--regex", metavar="TEXT", help="matching this regular expression as a whole")
    form.add_argument("--grammar", type=Path, metavar="FILE", help="in the language of this Lark grammar")
    Sampling.add_flags(parser.add_argument_group("sampling"))


def _add_runtime_flags(group: argparse._ArgumentGroup) -> None:
    from edgelm.runtime.cache.settings import CacheSettings

    add = group.add_argument
    add(
        "--draft",
        metavar="MODEL",
        help="a smaller model of the same family that guesses ahead; the text is the same",
    )
    add(
        "--no-speculation",
        dest="speculation",
        action="store_false",
        help="never guess ahead (guessing stops by itself where it does not pay)",
    )
    add(
        "--no-disk-cache",
        dest="disk_cache",
        action="store_false",
        help="do not keep computed prompts on the disk for the next time",
    )
    add(
        "--no-wire",
        dest="wire",
        action="store_false",
        help="let macOS page out a model that nearly fills the memory",
    )
    CacheSettings.add_flags(group)


def run(arguments: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        PromptError: the prompt is empty, or longer than the model's context.
        FormatError: stdin is not UTF-8.
        OptionError: a setting out of bounds, --json without a prompt, --tools where nobody can be asked.
        UnsupportedError: a schema that cannot be enforced, tools for a model that knows none.
        NotFoundError: no such model, or none installed; no such file.
    """
    settings = _settings(arguments)
    tools = _tools(arguments.tools)
    if tools and settings["grammar"] is not None:
        raise OptionError("--tools is given with a form of the answer, which leaves no room for calls")
    system = None if arguments.system is None else check_text(arguments.system, "--system")
    prompt = _prompt(arguments.prompt)
    if prompt is None and arguments.json:
        raise OptionError("--json needs a prompt, given none", hint="give one with -p or on stdin")
    if arguments.thinking is None:
        arguments.thinking = sys.stdout.isatty()
    edits = prompt is None and can_edit() and not arguments.plain
    name = arguments.model or choose_model()
    with keep_typed_ahead() if edits else nullcontext(), closing(_load(name, arguments)) as model:
        chat = model.chat(system=system, enable_thinking=arguments.enable_thinking, tools=tools.values())
        if arguments.enable_thinking is not None and not chat.can_think:
            warn(f"{model.name} has no thinking to switch")
        ask: Ask = partial(chat.events, **settings)
        if tools:
            ask = partial(
                chat.tool_events, approve=Approval(answer_reader(plain=arguments.plain)), **settings
            )
        if prompt is not None:
            _answer_once(ask(prompt), arguments)
        else:
            _converse(model, chat, ask, arguments, edits=edits)


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Of one answer; checked here, before a model is loaded for nothing."""
    from edgelm.runtime.generation import GenerationOptions
    from edgelm.runtime.sampling import Sampling

    settings = {
        "sampling": Sampling.from_flags(arguments),
        "max_tokens": arguments.max_tokens,
        "speculation": arguments.speculation,
        "stop": tuple(check_text(text, "--stop") for text in arguments.stop),
        "grammar": form_of_answer(schema=arguments.schema, regex=arguments.regex, grammar=arguments.grammar),
    }
    GenerationOptions(**settings)
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
            max_context=arguments.max_context,
            wire=arguments.wire,
            on_progress=on_progress,
        )
    remember_model(model.name)
    return model


@contextmanager
def _note(text: str, *, plain: bool) -> Iterator[Callable[[], None]]:
    """A line on the terminal until the block ends, or calls what it is given."""
    shown = not plain and is_terminal(sys.stderr)

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


def _answer_once(events: Generator[ToolEvent, None, None], arguments: argparse.Namespace) -> None:
    from edgelm.cli.answer import TextAnswer, show_json, show_usage

    with closing(events):
        if arguments.json:
            show_json(events)
            return
        answer = TextAnswer(thinking=arguments.thinking, calls=arguments.tools is None, plain=arguments.plain)
        finished = answer.show(events)
    if finished and sys.stdout.isatty() and sys.stderr.isatty():
        show_usage(finished, plain=arguments.plain)


def _converse(model: Any, chat: Any, ask: Ask, arguments: argparse.Namespace, *, edits: bool) -> None:
    from edgelm.cli.repl import COMMANDS, Repl

    context = f", context {model.context_length:,} tokens" if model.context_length else ""
    say(f"{model.name}{context}; /help lists the commands, Ctrl-D leaves")
    Repl(
        chat=chat,
        ask=ask,
        read=editing_reader(tuple(COMMANDS)) if edits else plain_reader,
        model=model.name,
        keys=EDITING_KEYS if edits else PLAIN_KEYS,
        thinking=arguments.thinking,
        plain=arguments.plain,
        show_cost=sys.stderr.isatty(),
        calls=arguments.tools is None,
    ).run()
