"""Loads a model as the flags of `edgelm chat` say, with a line on the terminal until it is there."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edgelm.cli.parsing.answer_flags import said_settings, say_recommended
from edgelm.cli.show.output import ERASE_LINE, dim, is_terminal, say
from edgelm.cli.show.progress_bars import progress_bars
from edgelm.progress import Progress

if TYPE_CHECKING:
    from edgelm.conversation.model import ChatModel


def load_model(name: str, arguments: argparse.Namespace) -> ChatModel:
    """Load a model and remember it for the next time.

    Raises:
        NotFoundError, FitError, ...: as `edgelm.load`.
    """
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
