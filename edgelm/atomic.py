"""Writes that are whole or not there: a hidden sibling, fsync, rename.

A killed writer leaves only its hidden sibling, which the next writer of the same name removes once the
process that made it is gone.
"""

from __future__ import annotations

import errno
import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgelm.errors import OutputError
from edgelm.processes import is_marked_alive, own_mark

_REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Translate an OSError while writing `path` to OutputError."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "free some space and run the command again" if full else None
        raise OutputError(f"cannot write {path}: {error.strerror or error}", hint=hint) from error


def refuse_existing(target: Path, *, hint: str = "remove it or choose another output path") -> None:
    """Raise OutputError if `target` is there already."""
    if target.exists() or target.is_symlink():
        raise OutputError(f"{target} already exists", hint=hint)


@contextmanager
def atomic_directory(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Give the block a directory to fill that becomes `target` when the block ends well, and vanishes when it does not.

    With `replace`, what was `target` stays until then, and goes.

    Raises:
        OutputError: `target` exists and is not to be replaced, or the disk refuses.
    """
    if not replace:
        refuse_existing(target)
    with scratch_directory(target) as partial:
        yield partial
        with disk_errors(target):
            _sync(partial)
            if replace:
                _move_away(target)
            refuse_existing(target)
            partial.rename(target)
            _sync(target.parent)
            _remove_orphans(target)


def _move_away(target: Path) -> None:
    """Make room for what replaces `target`: it is an orphan now, and goes as they do."""
    if target.is_symlink():
        target.unlink()
    elif target.exists():
        target.rename(target.with_name(f".{target.name}.partial-{own_mark()}.replaced"))


@contextmanager
def scratch_directory(target: Path) -> Iterator[Path]:
    """Give the block a hidden sibling of `target` that vanishes when it ends; one that a killed process left goes first.

    Raises:
        OutputError: the disk refuses, in the block too.
    """
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_orphans(target)
        partial = _partial(target)
        partial.mkdir()
    try:
        yield partial
    except OSError as error:
        if not _is_of_writing(error, partial):
            raise
        with disk_errors(target):
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _is_of_writing(error: OSError, directory: Path) -> bool:
    """Whether an error comes of filling `directory`; one that names no file, of a write, by its kind."""
    if isinstance(error.filename, str | os.PathLike):
        return Path(error.filename).is_relative_to(directory)
    return error.errno in _REFUSALS


def atomic_write(target: Path, text: str) -> None:
    """Replace the file `target` by `text` in UTF-8, wholly or not at all."""
    atomic_write_bytes(target, text.encode())


def atomic_write_bytes(target: Path, content: bytes) -> None:
    """Replace the file `target` by `content`, wholly or not at all.

    Raises:
        OutputError: the disk refuses.
    """
    with atomic_file(target) as partial:
        partial.write_bytes(content)


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Give the block a path to write to, with the ending of `target`, that replaces it when the block ends well.

    Raises:
        OutputError: the disk refuses.
    """
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_orphans(target)
        partial = _partial(target, target.suffix)  # MLX goes by it
        try:
            yield partial
            _sync(partial)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)


def _remove_orphans(target: Path) -> None:
    """Remove what writers of this name left, those included that had this process's number before it."""
    for path in _partials(target.parent, glob.escape(target.name)):
        if not is_marked_alive(_mark(path)) or _mark(path) in (own_mark(), str(os.getpid())):
            _remove(path)


def remove_all_orphans(directory: Path) -> None:
    """Remove what writers of any name left in `directory` and are no longer alive to finish."""
    for path in _partials(directory, "*"):
        if not is_marked_alive(_mark(path)):
            _remove(path)


def _partial(target: Path, suffix: str = "") -> Path:
    return target.with_name(f".{target.name}.partial-{own_mark()}{suffix}")


def _partials(directory: Path, name: str) -> list[Path]:
    return list(directory.glob(f".{name}.partial-*"))


def _mark(partial: Path) -> str:
    """The mark of the process that made it."""
    return partial.name.rpartition(".partial-")[2].partition(".")[0]


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
