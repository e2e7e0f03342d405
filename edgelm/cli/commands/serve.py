"""`edgelm serve [MODEL ...]`: models behind the APIs that editors, agents and scripts speak."""

from __future__ import annotations

import argparse
import dataclasses

from edgelm.cli.parsing.model_flags import MODEL_HELP, add_dtype
from edgelm.cli.show.output import say
from edgelm.errors import UnsupportedError

EXAMPLES = ("edgelm serve smollm2-135m-instruct-4bit", "edgelm serve --port 8081")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    from edgelm.server.settings import ServerSettings

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
    add("--no-disk-cache", action="store_true", help="keep no computed prompts on the disk")
    add("--kv-bits", type=int, choices=(8, 4), help="quantize the KV cache of full attention")
    add(
        "--max-context",
        type=int,
        metavar="INT",
        help="keep the first 4 and the last tokens in the cache, so many in all",
    )
    add("--no-fit-check", action="store_true", help="load even if it would not fit in memory")
    add_dtype(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the command until Ctrl-C.

    Raises:
        UnsupportedError: the extra `serve` is not installed.
        OptionError, NotFoundError, FitError: see `edgelm.server.run.serve`.
    """
    from edgelm.server.settings import ServerSettings

    try:
        from edgelm.server.run import serve
    except ImportError as error:
        raise UnsupportedError(
            f"a server needs {error.name}, which is not installed", hint="pip install 'edgelm[serve]'"
        ) from error
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
    say(f"serving at {address}/v1 (OpenAI's API); Ctrl-C ends it")
