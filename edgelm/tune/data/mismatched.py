"""Prompts with answers to other prompts, which KTO measures the divergence from its reference on.

A row's answer is that of the row before, the first row's of the last, as TRL pairs them; of rows that ask the same, of the last
before them that asks something else. Knows token ids only.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgelm.tune.data.rows import Example, Judged


def mismatched_answers(rows: Sequence[Judged]) -> tuple[Example, ...]:
    """Return for each row its prompt with the answer to another, no longer than the longest row.

    Where all rows ask the same, it is the answer of the row before.
    """
    longest = max((len(row.example.tokens) for row in rows), default=0)
    prompts = [row.example.tokens[: row.example.prompt_size] for row in rows]
    return tuple(
        _joined(row.example, rows[_other(at, prompts)].example, longest) for at, row in enumerate(rows)
    )


def _other(at: int, prompts: Sequence[tuple[int, ...]]) -> int:
    for back in range(1, len(prompts)):
        if prompts[at - back] != prompts[at]:
            return (at - back) % len(prompts)
    return (at - 1) % len(prompts)


def _joined(asked: Example, answered: Example, longest: int) -> Example:
    begin, other = asked.prompt_size, answered.prompt_size
    tokens = (asked.tokens[:begin] + answered.tokens[other:])[: max(longest, begin + 1)]
    trained = (asked.trained[:begin] + answered.trained[other:])[: len(tokens)]
    return Example(tokens, trained, asked.origin)
