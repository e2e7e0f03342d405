"""The command line's front door: finds the command, runs it, turns errors into words and exit codes.

Exit codes: 0 done, 1 an edgelm error, 2 usage (an unknown flag, a setting outside what it may be), 130
interrupted. Only the module of the chosen command is imported, so `--help` stays light. Knows no command's flags:
`edgelm.cli.table` lists the commands.
"""

from __future__ import annotations

import argparse
import errno
import gc
import os
import sys
import traceback
from collections.abc import Sequence
from types import TracebackType
from typing import NoReturn

from edgelm import log, paths
from edgelm.cli.completing import answer_shell, is_shell_asking
from edgelm.cli.parsing.flags import flags_of, in_flags
from edgelm.cli.parsing.nearest import did_you_mean
from edgelm.cli.parsing.parser import USAGE_EXIT_CODE, Parser, make_parser
from edgelm.cli.show.output import be_plain, show_error
from edgelm.cli.table import ALIASES, COMMANDS, CommandEntry
from edgelm.errors import EdgeLMError, Interrupted, OptionError
from edgelm.machine.abandoned import is_any_alive, leave
from edgelm.machine.open_files import raise_open_files
from edgelm.version import __version__

INTERRUPTED_EXIT_CODE = 130


def run() -> NoReturn:
    """Run as the console script."""
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
    if is_shell_asking():
        answer_shell(top)
    given = top.parse_args(argv[:at])
    if at == len(argv):
        log.configure(debug=given.debug)
        _open_app(top, given)
        return
    argv = [*argv[:at], *ALIASES.get(argv[at], argv[at : at + 1]), *argv[at + 1 :]]
    command = _find(argv[at], top)
    module = command.load()
    parser = make_parser(f"edgelm {command.name}", command.help, module.EXAMPLES)
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


def _find(name: str, top: Parser) -> CommandEntry:
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
    from edgelm.machine.gpu.watchdog import hint, is_watchdog

    what_next = hint() if is_watchdog(str(error)) else "run it again with --debug to report this"
    show_error(f"edgelm failed unexpectedly: {kind.__name__}: {error}", what_next)
