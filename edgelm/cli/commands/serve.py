"""`edgelm serve [MODEL ...]`: models behind the APIs that editors, agents and scripts speak."""

from __future__ import annotations

import argparse
import dataclasses

from edgelm.cli.parsing.loading_flags import add_loading_flags
from edgelm.cli.parsing.model_flags import MODEL_HELP
from edgelm.cli.servers import print_servers, start_server, stop_servers
from edgelm.cli.show.output import say
from edgelm.server.extra import require_extra
from edgelm.server.settings import ServerSettings

EXAMPLES = ("edgelm serve smollm2-135m-instruct-4bit", "edgelm serve --port 8081")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    add = parser.add_argument
    add("models", nargs="*", metavar="MODEL", help=f"{MODEL_HELP}; none serves the whole library")
    ServerSettings.add_flags(parser)
    add("--origin", action="append", default=[], metavar="URL", help="a web page that may ask (repeatable)")
    add(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a further name in the Host header (repeatable)",
    )
    add("--pin", action="append", default=[], metavar="NAME", help="a model that stays loaded (repeatable)")
    add_loading_flags(parser)
    _add_background_flags(parser)


def _add_background_flags(parser: argparse.ArgumentParser) -> None:
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--background", action="store_true", help="leave the terminal once it serves")
    how.add_argument("--status", action="store_true", help="say which servers run, and what they do")
    how.add_argument("--stop", action="store_true", help="end the servers that run, or the one on --port")


def run(arguments: argparse.Namespace) -> None:
    """Run the command until Ctrl-C, or do with servers that run what was asked for.

    Raises:
        UnsupportedError: the extra `serve` is not installed.
        OptionError, NotFoundError, FitError: see `edgelm.server.run.serve`.
    """
    if arguments.status:
        print_servers()
        return
    if arguments.stop:
        stop_servers(arguments.port)
        return
    if arguments.background:
        start_server(arguments)
        return
    require_extra()
    from edgelm.server.run import serve

    names = {item.name for item in dataclasses.fields(ServerSettings)}
    flags = {name: value for name, value in vars(arguments).items() if name in names and value is not None}
    flags |= {"origins": tuple(arguments.origin), "hosts": tuple(arguments.allow_host)}
    given = {
        "disk_cache": not arguments.no_disk_cache,
        "kv_bits": arguments.kv_bits,
        "max_context": arguments.max_context,
        "dtype": arguments.dtype,
        "check_fit": not arguments.no_fit_check,
    }
    say("loading" if arguments.models else "models are loaded when they are first asked for")
    serve(*arguments.models, pinned=arguments.pin, on_ready=_say_ready, model_settings=given, **flags)


def _say_ready(address: str) -> None:
    say(f"serving at {address}/v1 (OpenAI's API; Anthropic's and Ollama's at {address}); Ctrl-C ends it")
