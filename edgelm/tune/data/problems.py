"""What is wrong with training data, row by row, and how it is counted.

A row with an error cannot be trained; one with a warning can, but should be looked at. Collecting never stops
at the first, so that a file is mended in one go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from edgelm.errors import FormatError
from edgelm.tune.data.rows import RowOrigin
from edgelm.units import count

Severity = Literal["error", "warning"]
Sort = Literal[
    "syntax",
    "format",
    "field",
    "template",
    "no target",
    "too long",
    "empty answer",
    "empty prompt",
    "control token",
    "duplicate",
    "overlap",
    "left out",
    "no stop",
    "one label",
    "length ratio",
]
"""What problems are counted by."""

_LISTED = 10


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with one row."""

    origin: RowOrigin
    field: str
    """`messages[2].content`, or empty where it is the whole row."""
    reason: str
    """What is there and what was expected; no trailing period."""
    sort: Sort
    severity: Severity = "error"

    def __str__(self) -> str:
        where = f"{self.origin}: {self.field}: " if self.field else f"{self.origin}: "
        return where + self.reason


@dataclass
class Report:
    """Problems in the order they were found, with the number of rows they were found among."""

    problems: list[Problem] = field(default_factory=list)
    rows: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    """Rows by the format they were recognised as."""

    def extend(self, problems: Iterable[Problem]) -> None:
        """Add more problems."""
        self.problems += problems

    @property
    def errors(self) -> list[Problem]:
        """Rows that cannot be trained."""
        return [problem for problem in self.problems if problem.severity == "error"]

    @property
    def warnings(self) -> list[Problem]:
        """Rows that should be looked at."""
        return [problem for problem in self.problems if problem.severity == "warning"]

    @property
    def counts(self) -> dict[str, int]:
        """Problems by sort, most first."""
        return dict(Counter(problem.sort for problem in self.problems).most_common())

    def require_clean(
        self, hint: str = "edgelm data check FILE --model MODEL lists them all; mend or remove these rows"
    ) -> None:
        """Refuse data with errors.

        Args:
            hint: what to do next.

        Raises:
            FormatError: naming the first rows; `edgelm data check` lists all.
        """
        errors = self.errors
        if not errors:
            return
        listed = "\n".join(f"  {problem}" for problem in errors[:_LISTED])
        more = f"\n  and {len(errors) - _LISTED:,} more" if len(errors) > _LISTED else ""
        bad_rows = len({problem.origin for problem in errors})
        raise FormatError(
            f"{bad_rows:,} of {count(self.rows, 'row')} cannot be trained:\n{listed}{more}",
            hint=hint,
        )
