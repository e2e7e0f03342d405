"""Files of examples to datasets, with everything that is wrong with them said before a model loads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgelm.errors import FormatError
from edgelm.progress import OnProgress, Progress, ignore_progress
from edgelm.tune.data.checks import (
    find_duplicates,
    find_empty_answers,
    find_empty_prompts,
    find_lone_verdicts,
    find_lopsided_pairs,
    find_mixed_kinds,
    find_overlap,
    find_spelt_tokens,
)
from edgelm.tune.data.dataset import Dataset
from edgelm.tune.data.encoding.encode import RowEncoder
from edgelm.tune.data.encoding.formats import read_record
from edgelm.tune.data.encoding.lengths import LengthRule
from edgelm.tune.data.problems import Problem, Report
from edgelm.tune.data.reading.readers import read_rows
from edgelm.tune.data.reading.written import Written
from edgelm.tune.data.records import Record
from edgelm.tune.data.rows import Row
from edgelm.tune.data.scored import scored
from edgelm.tune.data.settings import DataSettings
from edgelm.tune.data.split import split_by_prompt

_REPORT_EVERY = 100


@dataclass
class Records:
    """What a file says, without its broken rows."""

    records: list[Record] = field(default_factory=list)
    written: list[Written] = field(default_factory=list)
    """As it was written, record by record."""
    report: Report = field(default_factory=Report)


@dataclass(frozen=True)
class Prepared:
    """Datasets and what was found on the way. Call `report.require_clean()` before training."""

    train: Dataset
    validation: Dataset | None
    report: Report


def read_records(source: str, tokenizer: Any = None) -> Records:
    """Read every row of the file or Hub dataset `source`, with its problems and duplicates.

    With the `tokenizer` of the model to be tuned, its control tokens are looked for; else those of well-known families.

    Raises:
        NotFoundError, FormatError, UnsupportedError, NetworkError: see `readers.read_rows`.
        FormatError: there are no rows.
    """
    read = Records()
    for row in read_rows(source):
        read.report.rows += 1
        if isinstance(row, Problem):
            read.report.problems.append(row)
            continue
        record = read_record(row)
        if isinstance(record, Problem):
            read.report.problems.append(record)
            continue
        _take(read, *record, row, tokenizer)
    if not read.report.rows:
        raise FormatError(f"{source} holds no rows")
    read.report.extend(find_mixed_kinds(read.records))
    read.report.extend(find_duplicates(read.records))
    read.report.extend(find_lone_verdicts(read.records))
    read.report.extend(find_lopsided_pairs(read.records))
    return read


def _take(read: Records, name: str, record: Record, row: Written, tokenizer: Any) -> None:
    read.report.formats[name] += 1
    problems = [
        *find_empty_answers(record),
        *find_empty_prompts(record),
        *find_spelt_tokens(record, tokenizer),
    ]
    read.report.extend(problems)
    if all(problem.severity == "warning" for problem in problems):
        read.records.append(record)
        read.written.append(row)


@dataclass
class Parts:
    """Records of both files, and one report."""

    train: list[Record]
    validation: list[Record]
    report: Report


def read_all(source: str, validation: str | None = None, tokenizer: Any = None) -> Parts:
    """Read the records of one or two files, which must be of one kind and should share no prompt.

    For what is raised see `read_records`.
    """
    first = read_records(source, tokenizer)
    if validation is None:
        return Parts(first.records, [], first.report)
    other = read_records(validation, tokenizer)
    report = first.report
    report.rows += other.report.rows
    report.formats.update(other.report.formats)
    report.extend(other.report.problems)
    report.extend(find_mixed_kinds([*first.records[:1], *other.records[:1]]))
    report.extend(find_overlap(first.records, other.records))
    return Parts(first.records, other.records, report)


def prepare(
    source: str,
    tokenizer: Any,
    settings: DataSettings | None = None,
    *,
    validation: str | None = None,
    hold_out: float = 0.0,
    seed: int = 0,
    is_scored: bool = False,
    on_progress: OnProgress = ignore_progress,
) -> Prepared:
    """Read, check and encode training data.

    Args:
        source: a file or a Hub dataset (see `sources.find_sources` for directories).
        tokenizer: mlx-lm's TokenizerWrapper of the model to be tuned.
        settings: what is trained, and how long rows may be.
        validation: another file, to measure on.
        hold_out: without one, the share of the prompts that is kept out of training for that; 0 keeps none.
        seed: decides which.
        is_scored: pairs are to train the scores of their answers (see `scored`), not the answers.

    Raises:
        NotFoundError, FormatError, UnsupportedError, NetworkError: a file that cannot be read at all.
        PromptError: chats, and a model without a chat template.
    """
    settings = settings or DataSettings()
    parts = read_all(source, validation, tokenizer)
    train, held = parts.train, parts.validation
    if validation is None and hold_out and train:
        train, held = split_by_prompt(train, train, hold_out, seed)
    report = parts.report
    encoding = _Encoding(tokenizer, settings, is_scored, report, on_progress)
    trained = encoding.dataset(train, "Reading examples")
    measured = encoding.dataset(held, "Reading validation") if held else None
    return Prepared(trained, measured, report)


@dataclass(frozen=True)
class _Encoding:
    """How records become rows."""

    tokenizer: Any
    settings: DataSettings
    is_scored: bool
    report: Report
    on_progress: OnProgress

    def dataset(self, records: Sequence[Record], task: str) -> Dataset:
        encoder, rule = RowEncoder(self.tokenizer, self.settings), LengthRule(self.settings)
        rows: list[Row] = []
        self.on_progress(Progress(task, 0, len(records), "rows"))
        for done, record in enumerate(records, start=1):
            encoded, problems = encoder.encode(record)
            self.report.extend(problems)
            for row in encoded:
                kept, problem = rule.apply(row, record)
                self.report.extend([problem] if problem else [])
                rows += self._taken(kept, record)
            if done % _REPORT_EVERY == 0 or done == len(records):
                self.on_progress(Progress(task, done, len(records), "rows"))
        return Dataset(tuple(rows), records[0].kind if records else "sft", rule.changes)

    def _taken(self, rows: Sequence[Row], record: Record) -> Iterator[Row]:
        for row in rows:
            taken, problem = scored(row, record) if self.is_scored else (row, None)
            self.report.extend([problem] if problem else [])
            yield taken
