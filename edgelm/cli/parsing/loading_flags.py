"""How a server loads models, as flags, and as the command line of a server that is started for somebody."""

from __future__ import annotations

import argparse

from edgelm.cli.parsing.model_flags import add_dtype


def add_loading_flags(parser: argparse.ArgumentParser) -> None:
    """Declare flags that say how a server loads models."""
    add = parser.add_argument
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


def loading_arguments(arguments: argparse.Namespace) -> list[str]:
    """Return the flags of `add_loading_flags` that were given, as a command line has them."""
    words = [
        flag
        for flag, is_given in (
            ("--no-disk-cache", arguments.no_disk_cache),
            ("--no-fit-check", arguments.no_fit_check),
        )
        if is_given
    ]
    for flag, value in (
        ("--kv-bits", arguments.kv_bits),
        ("--max-context", arguments.max_context),
        ("--dtype", arguments.dtype),
    ):
        if value is not None:
            words += [flag, str(value)]
    return words
