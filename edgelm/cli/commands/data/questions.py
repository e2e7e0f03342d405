"""`edgelm data check` of rows that ask alone, which rewards judge the answers to (`edgelm tune --loss grpo`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgelm.units import count

if TYPE_CHECKING:
    from edgelm.tune.data.problems import Report


def holds_questions(source: str) -> bool:
    """Tell whether every readable row of a file asks, and none holds an answer."""
    from edgelm.tune.data.problems import Problem
    from edgelm.tune.data.reading.readers import read_rows
    from edgelm.tune.rollouts.questions import is_question

    rows = [row for row in read_rows(source) if not isinstance(row, Problem)]
    return bool(rows) and all(map(is_question, rows))


def check_questions(
    train: str, validation: str | None, tokenizer: Any | None, rewards: Sequence[str], longest: int | None
) -> tuple[Report, dict[str, Any]]:
    """Read the questions of one or two files; return what is wrong with them, and facts of each file.

    Args:
        tokenizer: of the model that answers; None counts no tokens.
        rewards: as `--reward` has them; what they read of a row has to be there.
        longest: most tokens of a prompt; None is without limit.

    Raises:
        OptionError, NotFoundError, FormatError, UnsupportedError, NetworkError: a file or a reward that cannot be read.
    """
    from edgelm.rewards.combined import Rewards
    from edgelm.tune.data.problems import Problem
    from edgelm.tune.reward_model.named import read_all_rewards
    from edgelm.tune.rollouts.questions import read_questions

    with read_all_rewards(rewards) if rewards else Rewards(()) as read_by:
        files = {
            name: read_questions(source, tokenizer, read_by, longest=longest)
            for name, source in (("train", train), ("validation", validation))
            if source
        }
    report = files["train"].report
    if "validation" in files:
        other = files["validation"]
        report.rows += other.report.rows
        report.formats.update(other.report.formats)
        report.extend(other.report.problems)
        trained = {str(row.prompt): row.origin for row in files["train"].rows}
        report.extend(
            Problem(row.origin, "", f"its prompt is also in the training data, at {at}", "overlap", "warning")
            for row in other.rows
            if (at := trained.get(str(row.prompt))) is not None
        )
    facts: dict[str, Any] = {}
    for name, file in files.items():
        sizes = [len(row.ids) for row in file.rows]
        facts[name] = {
            "rows": len(file.rows),
            "kind": "rollout",
            "prompts": len({str(row.prompt) for row in file.rows}),
            "columns": sorted({column for row in file.rows for column in row.columns}),
        }
        if tokenizer is not None and sizes:
            facts[name] |= {"tokens": sum(sizes), "shortest": min(sizes), "longest": max(sizes)}
    return report, facts


def question_line(name: str, fact: dict[str, Any]) -> str:
    """Say the facts of a file in one line: `train: 40 questions for --loss grpo, 38 of them different; for rewards: answer`."""
    parts = [
        f"{name}: {count(fact['rows'], 'question')} for --loss grpo, {fact['prompts']:,} of them different"
    ]
    if "tokens" in fact:
        parts.append(
            f"prompts of {fact['shortest']:,} to {fact['longest']:,} tokens, {fact['tokens']:,} in all"
        )
    if fact["columns"]:
        parts.append(f"for rewards: {', '.join(fact['columns'])}")
    return "; ".join(parts)
