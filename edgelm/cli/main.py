"""The command line's front door: finds the command, runs it, turns errors into words and exit codes.

Exit codes: 0 done, 1 an edgelm error, 2 usage (an unknown flag, a setting outside what it may be), 130
interrupted. Only the module of the chosen command is imported, so `--help` stays light. Knows no command's flags:
each module in `COMMANDS` has `add_arguments(parser)` and `run(arguments)`.
"""

from __future__ import annotations

import argparse
import errno
import gc
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import NoReturn

from edgelm import log, paths
from edgelm.cli.completion import answer, is_asked
from edgelm.cli.output import be_plain, show_error
from edgelm.cli.parsing.flags import flags_of, in_flags
from edgelm.cli.parsing.nearest import did_you_mean
from edgelm.cli.parsing.parser import USAGE_EXIT_CODE, Parser, make_parser
from edgelm.errors import EdgeLMError, Interrupted, OptionError
from edgelm.machine.abandoned import is_any_alive, leave
from edgelm.machine.open_files import raise_open_files
from edgelm.version import __version__

INTERRUPTED_EXIT_CODE = 130


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its module is `edgelm.cli.<name>`."""

    name: str
    help: str
    examples: tuple[str, ...] = ()


COMMANDS = (
    Command(
        "convert",
        "turn published weights into a quantized MLX model",
        (
            "edgelm convert HuggingFaceTB/SmolLM2-135M-Instruct --bits 4",
            "edgelm convert model.Q4_K_M.gguf --name my-model",
        ),
    ),
    Command(
        "chat",
        "talk to a model, or ask it one thing",
        (
            "edgelm chat",
            "edgelm chat smollm2-135m-instruct-4bit -p 'Why is the sky blue?'",
            "git diff | edgelm chat -p 'Write a commit message for this change.'",
        ),
    ),
    Command(
        "chats",
        "list, search, print, export and remove saved chats",
        ("edgelm chats", "edgelm chats search birds", "edgelm chats export 12 -o birds.md"),
    ),
    Command(
        "personas",
        "keep system prompts and sampling under names",
        (
            "edgelm personas save editor --system @editor.txt --temperature 0.2",
            "edgelm chat --persona editor",
        ),
    ),
    Command(
        "generate",
        "answer a file of prompts, many at once",
        (
            "edgelm generate smollm2-135m-instruct-4bit --input prompts.jsonl --output answers.jsonl --chat",
            "edgelm generate MODEL --input rows.csv --template 'Translate: {text}' --output answers.jsonl --chat",
        ),
    ),
    Command(
        "models",
        "list, inspect, download and remove models",
        ("edgelm models", "edgelm models pull mlx-community/Qwen3-0.6B-4bit", "edgelm models rename old new"),
    ),
    Command(
        "data",
        "check training data, and see what of it is trained",
        (
            "edgelm data check examples.jsonl --model smollm2-135m-instruct-4bit",
            "edgelm data show examples.jsonl --model smollm2-135m-instruct-4bit",
            "edgelm data split examples.jsonl --share 0.1",
        ),
    ),
    Command(
        "plan",
        "say whether a model fits and how fast it can be",
        (
            "edgelm plan smollm2-135m-instruct-4bit",
            "edgelm plan Qwen/Qwen3-8B --bits 4 --chip 'M3 Pro' --memory 18",
            "edgelm plan smollm2-135m-instruct-4bit --tune --data examples.jsonl",
        ),
    ),
    Command(
        "tune",
        "teach a model from examples",
        (
            "edgelm tune smollm2-135m-instruct-4bit --data examples.jsonl",
            "edgelm tune MODEL --data examples.jsonl --for 3h --pause-on battery,heat",
            "edgelm tune --resume",
        ),
    ),
    Command(
        "runs",
        "list, compare, plot and delete training runs",
        ("edgelm runs", "edgelm runs show 20261125", "edgelm runs plot 20261125"),
    ),
    Command(
        "adapters",
        "list, fuse, merge and exchange what was trained",
        (
            "edgelm adapters",
            "edgelm adapters fuse MODEL style --name my-model",
            "edgelm adapters export style -o style-peft",
        ),
    ),
    Command(
        "bench", "measure prefill and decode at several depths", ("edgelm bench smollm2-135m-instruct-4bit",)
    ),
    Command(
        "eval",
        "measure perplexity, the distance to another model, and lm-eval tasks",
        (
            "edgelm eval my-model-4bit --reference my-model-bf16",
            "edgelm eval my-model-4bit --text notes.txt --adapter my-adapter",
            "edgelm eval my-model-4bit --tasks arc_easy,hellaswag --limit 100",
        ),
    ),
    Command(
        "quantize",
        "compare ways to quantize a model: size against loss",
        ("edgelm quantize compare smollm2 --bits 3,4 --methods rtn,best --svg frontier.svg",),
    ),
    Command(
        "completion",
        "let a shell complete commands, flags and names",
        (
            "edgelm completion zsh >> ~/.zshrc",
            "edgelm completion fish > ~/.config/fish/completions/edgelm.fish",
        ),
    ),
    Command("doctor", "report what this machine is and what it lacks", ("edgelm doctor",)),
)


ALIASES = {"ls": ("models", "list"), "rm": ("models", "remove")}
"""Commands of one word → the command and action they stand for."""


def run() -> NoReturn:
    """The console script."""
    sys.excepthook = _report_bug
    raise_open_files()
    for stream in (sys.stdout, sys.stderr):
        # A model's reply may hold characters that the terminal's encoding lacks.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    exit_code = main(sys.argv[1:])
    if is_any_alive():  # Ctrl-C came while a model was loading
        leave(exit_code)
    sys.exit(exit_code)


def main(argv: Sequence[str]) -> int:
    """Run one command line (without the program's name) and return its exit code."""
    try:
        _dispatch(argv)
        sys.stdout.flush()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt:
        return INTERRUPTED_EXIT_CODE
    except BrokenPipeError:
        _silence_stdout()
    except OSError as error:
        if "--debug" in argv:
            traceback.print_exc()
        show_error(*_of_system(error))
        return 1
    except EdgeLMError as error:
        if "--debug" in argv:
            traceback.print_exc()
        hint = error.hint or _other_home(error.message)
        show_error(error.message, hint, label="" if isinstance(error, Interrupted) else "error")
        return USAGE_EXIT_CODE if isinstance(error, OptionError) else error.exit_code
    return 0


def _of_system(error: OSError) -> tuple[str, str | None]:
    """What the system refused, by its path, and a way out."""
    reason = error.strerror or str(error)
    message = f"{error.filename}: {reason}" if error.filename else f"the system refused: {reason}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return message, "free some space and run the command again"
    return message, _other_home(message) or "run it again with --debug to see where"


def _other_home(message: str) -> str | None:
    """The way out where edgelm's own directory is what cannot be used."""
    if str(paths.home()) not in message or "already" in message:
        return None
    return "EDGELM_HOME=DIRECTORY in the environment lets edgelm keep its files elsewhere"


def _dispatch(argv: Sequence[str]) -> None:
    at = next((i for i, word in enumerate(argv) if not word.startswith("-")), len(argv))
    top = _top_parser()
    if is_asked():
        answer(top, [command.name for command in COMMANDS], ALIASES)
    given = top.parse_args(argv[:at])
    if at == len(argv):
        log.configure(debug=given.debug)
        _open_app(top, given)
        return
    argv = [*argv[:at], *ALIASES.get(argv[at], argv[at : at + 1]), *argv[at + 1 :]]
    command = _find(argv[at], top)
    module = importlib.import_module(f"edgelm.cli.{command.name}")
    parser = make_parser(f"edgelm {command.name}", command.help, command.examples)
    _add_debug(parser, default=given.debug)
    module.add_arguments(parser)
    arguments = parser.parse_args(argv[at + 1 :])
    log.configure(debug=arguments.debug)
    be_plain(getattr(arguments, "plain", False))
    try:
        module.run(arguments)
    except OptionError as error:
        said = in_flags(error, flags_of(arguments.parser))
        raise type(error)(said, hint=error.hint, settings=error.settings) from error


def _open_app(top: Parser, given: argparse.Namespace) -> None:
    if given.web is not None:
        from edgelm_tui.web import serve

        serve(given.web)
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        top.print_help(sys.stderr)
        sys.exit(USAGE_EXIT_CODE)
    # Hundreds of modules are imported now, and none of it becomes garbage; the app's first frame turns it on again.
    gc.disable()
    from edgelm_tui.app import run_app

    run_app()


def _find(name: str, top: Parser) -> Command:
    commands = {command.name: command for command in COMMANDS}
    if name not in commands:
        top.error(f"no command {name!r}{did_you_mean(name, [*commands, *ALIASES])}")
    return commands[name]


def _top_parser() -> Parser:
    width = max(len(command.name) for command in COMMANDS)
    listed = [f"  {command.name:<{width}}  {command.help}" for command in COMMANDS]
    listed += [f"  {alias:<{width}}  the same as {' '.join(words)}" for alias, words in ALIASES.items()]
    parser = make_parser(
        "edgelm",
        "a runtime for language models on one laptop; without a command, the terminal app",
        (
            "edgelm convert smollm2",
            "edgelm chat smollm2-135m-instruct-4bit -p 'Why is the sky blue?'",
            "edgelm chat --help",
        ),
        epilog="\n".join(["commands:", *listed, ""]),
    )
    parser.usage = "edgelm [-h] [--version] [--debug] [--web[=PORT]] [COMMAND ...]"
    parser.add_argument("--version", action="version", version=f"edgelm {__version__}")
    parser.add_argument(
        "--web",
        type=int,
        nargs="?",
        const=8640,
        metavar="PORT",
        help="serve the terminal app to this machine's browser (default port 8640)",
    )
    _add_debug(parser, default=False)
    return parser


def _add_debug(parser: argparse.ArgumentParser, *, default: bool) -> None:
    parser.add_argument(
        "--debug",
        action="store_true",
        default=default,
        help="log to stderr, and show where an error came from",
    )


def _silence_stdout() -> None:
    # The reader (head, a closed pager) is gone: without this, Python complains again when it flushes at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report_bug(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    """Show an exception that nobody foresaw; its traceback too if asked for."""
    if "--debug" in sys.argv:
        sys.__excepthook__(kind, error, where)
    from edgelm.machine.watchdog import hint, is_watchdog

    what_next = hint() if is_watchdog(str(error)) else "run it again with --debug to report this"
    show_error(f"edgelm failed unexpectedly: {kind.__name__}: {error}", what_next)
