"""Adapters that requests have named, kept in memory for the next request, as many as are worth it.

Who computes with one holds it: letting go of it here frees its memory once the last row has ended.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from edgelm.adapters.acting.variant import LoadedAdapter
from edgelm.adapters.files import CONFIG, WEIGHTS, Adapter, read_adapter
from edgelm.errors import FitError, FormatError, NotFoundError, UnsupportedError
from edgelm.units import format_bytes

MOST_KEPT = 16
"""Adapters that stay in memory for requests; the one that was used longest ago goes."""

Stamp = tuple[int, int, int, int]
"""Modification times and sizes of an adapter's two files."""


class Borrowed:
    """The adapters that requests brought.

    Args:
        load: reads an adapter's layers under a name, or raises what does not fit.
    """

    def __init__(self, load: Callable[[str, Adapter], LoadedAdapter]) -> None:
        self._load = load
        self._kept: OrderedDict[str, tuple[Stamp, LoadedAdapter]] = OrderedDict()
        self.free_bytes: Callable[[], int] | None = None
        """What is left for another; None is not looked at."""

    def obtain(self, directory: Path) -> LoadedAdapter:
        """Return the adapter in `directory`, which is read where its files are not those in memory.

        Raises:
            NotFoundError, FormatError, UnsupportedError: there is none, it does not fit the network, or is a full fine-tune.
            FitError: it does not fit in memory.
        """
        key, stamp = os.path.realpath(directory), _stamp(directory)
        known = self._kept.pop(key, None)
        if known is None or known[0] != stamp:
            known = None  # its memory goes before the new one's is taken
            known = stamp, self._read(directory)
        self._kept[key] = known
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return known[1]

    def _read(self, directory: Path) -> LoadedAdapter:
        try:
            return self._read_whole(read_adapter(directory))
        except FormatError as error:  # for whoever named it, maybe over a network: a name says enough
            message = error.message.replace(str(directory), f"adapter {directory.name}")
            raise FormatError(message, hint=error.hint) from error

    def _read_whole(self, adapter: Adapter) -> LoadedAdapter:
        if adapter.config.kind == "full":
            raise UnsupportedError(
                f"{adapter.name} is a full fine-tune, which cannot act on some requests alone",
                hint="edgelm fuse makes a model of it",
            )
        self._make_room(adapter)
        return self._load(adapter.name, adapter)

    def _make_room(self, adapter: Adapter) -> None:
        if self.free_bytes is None:
            return
        while adapter.size_bytes > self.free_bytes():
            if not self._kept:
                raise FitError(
                    f"adapter {adapter.name} takes {format_bytes(adapter.size_bytes)}, and"
                    f" {format_bytes(max(0, self.free_bytes()))} are left beside the model"
                )
            self._kept.popitem(last=False)


def _stamp(directory: Path) -> Stamp:
    try:
        weights, config = (directory / WEIGHTS).stat(), (directory / CONFIG).stat()
    except OSError as error:
        raise NotFoundError(f"there is no adapter {directory.name} any more") from error
    return weights.st_mtime_ns, weights.st_size, config.st_mtime_ns, config.st_size
