"""The word that a misspelt one is likely to mean. Knows no command."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_CUTOFF = 0.6


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Find the word of `known` that `word` is a beginning, a part or a misspelling of; None if it is like none.

    Args:
        word: as it was typed; case, and `_` for `-`, do not matter.
        known: what it may be.
    """
    names = {name.lower().replace("_", "-"): name for name in known}
    wanted = word.lower().replace("_", "-")
    if wanted in names:
        return names[wanted]
    begun = [name for name in names if len(wanted.strip("-")) > 1 and name.startswith(wanted)]
    if len(begun) == 1:
        return names[begun[0]]
    alike = difflib.get_close_matches(wanted, names, n=1, cutoff=_CUTOFF)
    if alike:
        return names[alike[0]]
    bare = wanted.strip("-")
    parts = [name for name in names if bare and bare in name.strip("-").split("-")]
    return names[parts[0]] if len(parts) == 1 else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Say `, did you mean 'list'?`, or nothing."""
    found = nearest(word, known)
    if found is None:
        return ""
    return f", did you mean {found}?" if found.startswith("-") else f", did you mean {found!r}?"
