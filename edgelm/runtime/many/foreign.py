"""Prompts whose adapters are made for another model: failures of their own, known before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgelm.adapters.find import check_uses
from edgelm.adapters.use import AdapterUse
from edgelm.errors import EdgeLMError
from edgelm.runtime.many.prompts import Task


def without_foreign(
    tasks: Sequence[Task], failures: Sequence[tuple[int, EdgeLMError]], model: Path
) -> tuple[list[Task], list[tuple[int, EdgeLMError]]]:
    """Return the tasks whose adapters go with the model in a directory, and the errors of the rest behind `failures`."""
    errors: dict[Any, EdgeLMError | None] = {}
    for task in tasks:
        uses = task.options.adapters or ()
        if uses not in errors:
            errors[uses] = _mismatch(uses, model)
    found = [(task, errors[task.options.adapters or ()]) for task in tasks]
    foreign = [(task.index, error) for task, error in found if error is not None]
    return [task for task, error in found if error is None], [*failures, *foreign]


def _mismatch(uses: Sequence[AdapterUse], model: Path) -> EdgeLMError | None:
    try:
        check_uses(uses, model)
    except EdgeLMError as error:
        return error
    return None
