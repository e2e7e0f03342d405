"""What a model or an adapter was built on, below its facts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgelm.cli.show.facts import is_piped

if TYPE_CHECKING:
    from edgelm.library.lineage import Ancestor

_BRANCHES = " └├│─"


def print_lineage(tree: Ancestor) -> None:
    """Print the parents, theirs indented below them; in a pipe each with its label before it."""
    from edgelm.library.lineage import lines

    found = list(lines(tree)) if tree.parents else []
    if found and not is_piped():
        print("built on")
    for line in found:
        print(f"built on\t{line.lstrip(_BRANCHES)}" if is_piped() else f"  {line}")
