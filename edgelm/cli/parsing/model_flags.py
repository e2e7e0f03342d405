"""How every command takes a model, adapters, and the place of a result; and finds the model that was named."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

MODEL_HELP = "a name from the library, a path, or a Hub id (pulled into the library first)"
ADAPTER_HELP = "an adapter to put on the model: a name from the library of adapters, or a path"


def add_model(parser: argparse.ArgumentParser, *, nargs: Any = None) -> None:
    """Declare MODEL; `found_model` finds it."""
    parser.add_argument("model", nargs=nargs, metavar="MODEL", help=MODEL_HELP)


def add_adapter(parser: argparse.ArgumentParser, flag: str = "--adapter", *, of: str = "the model") -> None:
    """Declare a flag that names adapters; `edgelm.adapters.find.find_uses` finds them."""
    text = ADAPTER_HELP.replace("the model", of, 1)
    parser.add_argument(flag, action="append", metavar="NAME[=WEIGHT]", help=f"{text} (repeatable)")


def add_dtype(parser: argparse._ActionsContainer) -> None:
    """Declare `--dtype`: what the parameters that are not packed are computed in."""
    parser.add_argument(
        "--dtype",
        choices=("float16", "bfloat16", "float32"),
        help="of parameters that are not packed (default: as stored; float16 for bfloat16 on M1 and M2 where it fits;"
        " float32 on a CPU)",
    )


def add_place(parser: argparse.ArgumentParser, library: str, default: str) -> None:
    """Declare `--name` and `--output`; `edgelm.library.names.place` reads them."""
    parser.add_argument("--name", help=f"what to call it in {library} (default: made of {default})")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help=f"the directory to make, instead of one in {library}"
    )


def found_model(text: str) -> Path:
    """Find the directory of a model that is to be used; a Hub id that is not here yet is pulled.

    Raises:
        NotFoundError, NetworkError, UnsupportedError, UnsafeError, FormatError: see `edgelm.library.models.obtain`.
    """
    from edgelm.cli.show.progress_bars import progress_bars
    from edgelm.library.models import obtain

    with progress_bars() as on_progress:
        return obtain(text, on_progress)
