"""The next tokens of all sequences, under way: lazily, so that the step after can be built upon them.

Shapes: B sequences, V vocab.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import mlx.core as mx

from edgelm.runtime.batching.group import Group, group_key
from edgelm.runtime.events import Token
from edgelm.runtime.sampling.step import Step
from edgelm.runtime.sequence import ActiveRequest


@dataclass(frozen=True, slots=True)
class Draw:
    """One token for each sequence."""

    ids: mx.array
    """[B]."""
    steps: tuple[Step, ...]
    places: tuple[tuple[int, int], ...]
    """For each sequence, which step its token is in, and where there."""

    def start(self) -> None:
        """Begin to compute; returns at once."""
        arrays = [array for step in self.steps for array in step.arrays if array is not self.ids]
        mx.async_eval(self.ids, *arrays)  # type: ignore[no-untyped-call]

    def read(self) -> list[Token]:
        """Wait for them."""
        tokens = [step.read() for step in self.steps]
        return [tokens[step][row] for step, row in self.places]

    def read_scores(self) -> list[list[float] | None]:
        """Return the scores of each sequence's token, which has been read; None where none were asked for."""
        pairs = [step.read_scores() for step in self.steps]
        if not any(pairs):
            return [None] * len(self.places)
        return [None if (known := pairs[step]) is None else known[row] for step, row in self.places]

    def keep(self, rows: Sequence[int]) -> Draw:
        """Return the draw without the sequences that have left.

        What will be read stays as it was started: a new array of the rest would come with the next step, and be waited for.
        """
        return Draw(self.ids[mx.array(list(rows))], self.steps, tuple(self.places[row] for row in rows))


class Drawer:
    """Chooses the next tokens of all sequences, those of equal settings together."""

    def __init__(self) -> None:
        self._groups: dict[Hashable, Group] = {}
        self._seating: _Seating | None = None

    def draw(self, logits: mx.array, replies: Sequence[ActiveRequest]) -> Draw:
        """Draw from logits `[B, V]`, each row by its reply's own settings, seed and constraint; lazily."""
        seating = self._seating
        if (
            seating is None or seating.replies != replies
        ):  # the same from step to step, until somebody comes or leaves
            seating = self._seating = self._seat(replies, logits.shape[-1])
        if not seating.groups:
            ids = mx.argmax(logits, axis=-1)
            return Draw(ids, (Step(ids),), seating.places)
        steps = tuple(
            group.draw(_rows_of(logits, rows))
            for group, rows in zip(seating.groups, seating.rows, strict=True)
        )
        ids = mx.concatenate([step.ids for step in steps]) if len(steps) > 1 else steps[0].ids
        return Draw(_rows_of(ids, seating.back), steps, seating.places)

    def clear(self) -> None:
        """Forget all replies."""
        self._groups.clear()
        self._seating = None

    def _seat(self, replies: Sequence[ActiveRequest], columns: int) -> _Seating:
        """Put every reply in its group; groups that nobody is left in go."""
        if all(reply.is_plain for reply in replies):
            self._groups.clear()
            return _Seating(list(replies), (), (), tuple((0, row) for row in range(len(replies))), ())
        together: dict[Hashable, list[ActiveRequest]] = {}
        for reply in replies:
            together.setdefault(group_key(reply.request), []).append(reply)
        known = self._groups
        self._groups = {
            key: known.get(key) or Group(members[0].request, columns) for key, members in together.items()
        }
        for key, members in together.items():
            self._groups[key].seat(members)
        groups = tuple(self._groups.values())
        row_of = {id(reply): row for row, reply in enumerate(replies)}
        rows = tuple(tuple(row_of[id(member)] for member in group.members) for group in groups)
        place = {row: (step, at) for step, part in enumerate(rows) for at, row in enumerate(part)}
        order = [row for part in rows for row in part]
        back = tuple(sorted(range(len(order)), key=order.__getitem__))
        return _Seating(list(replies), groups, rows, tuple(place[row] for row in range(len(replies))), back)


@dataclass(frozen=True, slots=True)
class _Seating:
    """Who is drawn with whom."""

    replies: list[ActiveRequest]
    groups: tuple[Group, ...]
    """None where every reply takes the likeliest token as the network gives it."""
    rows: tuple[tuple[int, ...], ...]
    """The rows of the members of each group."""
    places: tuple[tuple[int, int], ...]
    back: tuple[int, ...]
    """Where the token of each reply is among those of all groups."""


def _rows_of(array: mx.array, rows: Sequence[int]) -> mx.array:
    """These rows, in this order."""
    return array if list(rows) == list(range(array.shape[0])) else array[mx.array(list(rows))]
