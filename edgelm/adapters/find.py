"""The adapters that a user means: by path or name of the library, each with the weight it acts with."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from edgelm import paths
from edgelm.adapters.base import check_base
from edgelm.adapters.files import CONFIG, checked_directory, read_adapter
from edgelm.adapters.use import AdapterUse
from edgelm.errors import NotFoundError, OptionError
from edgelm.library.names import directories, named_in, near_name


def find_adapter(text: str) -> Path:
    """Find the adapter directory that `text` means: a path, or a name of the library of adapters.

    A name of the library wins over a folder of that name in the working directory, unless that is an adapter.

    Raises:
        NotFoundError: neither; with the nearest name.
        UnsupportedError: it is in PEFT's format.
    """
    path = Path(text).expanduser()
    if text and path.is_dir() and (os.sep in text or (path / CONFIG).is_file()):
        return checked_directory(path)
    named = named_in(paths.adapters(), text)
    if named is not None:
        return checked_directory(named)
    if text and path.is_dir():
        return checked_directory(path)
    raise NotFoundError(f"no adapter {text!r} in {paths.adapters()} or on the disk", hint=_hint(text))


def _hint(text: str) -> str:
    near = near_name(text, (path.name for path in directories(paths.adapters())))
    return f"did you mean {shlex.quote(near)}?" if near else "edgelm adapters lists them"


def parse_use(text: str) -> AdapterUse:
    """Find the adapter that `NAME`, `DIR`, or either with `=WEIGHT` means.

    Raises:
        OptionError: a weight that is no finite number.
        NotFoundError: no such adapter.
    """
    name, equals, weight = text.rpartition("=")
    if not equals or Path(text).expanduser().is_dir():
        return AdapterUse(find_adapter(text))
    directory = find_adapter(name)
    try:
        value = float(weight)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise OptionError(
            f"the weight of adapter {name} is {weight!r}, expected a finite number", settings=("adapter",)
        )
    return AdapterUse(directory, value)


def find_uses(texts: Sequence[str], model: Path) -> tuple[AdapterUse, ...]:
    """Find the adapters that `texts` mean, all of which were trained on the weights in `model`.

    Raises:
        OptionError, NotFoundError, FormatError: see `parse_use` and `read_adapter`.
        UnsupportedError: one has another base.
    """
    uses = tuple(map(parse_use, texts))
    check_uses(uses, model)
    return uses


def check_uses(uses: Sequence[AdapterUse], model: Path) -> None:
    """Refuse adapters that are broken, or were trained on other weights than those in `model`, before it is loaded.

    Raises:
        NotFoundError, FormatError, UnsupportedError: see `read_adapter` and `check_base`.
    """
    for use in uses:
        check_base(read_adapter(use.directory), model)
