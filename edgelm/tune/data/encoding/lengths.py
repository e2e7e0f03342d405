"""What becomes of rows that are longer than they may be. Nothing is cut or left out unasked or unsaid."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgelm.tune.data.problems import Problem
from edgelm.tune.data.records import Record, TextRecord
from edgelm.tune.data.rows import Example, Judged, Pair, Row
from edgelm.tune.data.settings import DataSettings
from edgelm.units import count


@dataclass
class LengthRule:
    """Applies `max_tokens` and `long_rows`, and counts what it did."""

    settings: DataSettings
    counts: dict[str, int] = field(default_factory=dict)

    def apply(self, row: Row, record: Record) -> tuple[list[Row], Problem | None]:
        """Return the rows to train on, and what there is to say of them."""
        limit = self.settings.max_tokens
        longest = max(len(sequence.tokens) for sequence in row.sequences)
        if longest <= limit:
            return [row], None
        how = self.settings.long_rows
        excess = f"{count(longest, 'token')}, more than {limit:,}"
        if how == "drop":
            return [], self._changed(record, "dropped", excess)
        if how == "truncate":
            return self._cut(row, record, excess)
        if how == "split" and isinstance(record, TextRecord) and isinstance(row, Example):
            return [*_pieces(row, limit)], self._changed(record, "split", excess)
        return [], Problem(record.origin, "", f"{excess} (--max-tokens, --long-rows)", "too long")

    @property
    def changes(self) -> tuple[str, ...]:
        """`"3 rows of more than 2,048 tokens dropped"`."""
        return tuple(
            f"{count(many, 'row')} of more than {count(self.settings.max_tokens, 'token')} {what}"
            for what, many in self.counts.items()
        )

    def _changed(self, record: Record, what: str, excess: str) -> Problem:
        self.counts[what] = self.counts.get(what, 0) + 1
        return Problem(record.origin, "", f"{excess}: {what}", "too long", "warning")

    def _cut(self, row: Row, record: Record, excess: str) -> tuple[list[Row], Problem | None]:
        cut = _truncated(row, self.settings.max_tokens)
        if any(sequence.target_count == 0 for sequence in cut.sequences):
            reason = f"{excess}, and nothing that is trained lies within"
            return [], Problem(record.origin, "", reason, "too long")
        return [cut], self._changed(record, "truncated", excess)


def _truncated(row: Row, limit: int) -> Row:
    if isinstance(row, Pair):
        return Pair(_head(row.chosen, limit), _head(row.rejected, limit), row.origin)
    if isinstance(row, Judged):
        return Judged(_head(row.example, limit), row.is_desirable, row.origin)
    return _head(row, limit)


def _head(example: Example, limit: int) -> Example:
    return Example(example.tokens[:limit], example.trained[:limit], example.origin)


def _pieces(row: Example, limit: int) -> list[Example]:
    """Each begins with the last token of the one before, so that every token is a target once."""
    starts = range(0, len(row.tokens) - 1, limit - 1)
    pieces = [(row.tokens[at : at + limit], row.trained[at : at + limit]) for at in starts]
    return [Example(tokens, (False, *trained[1:]), row.origin) for tokens, trained in pieces]
