"""What is suspicious about rows that are well formed: duplicates, empty answers, rows seen in validation too."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from edgelm.text.control_tokens import find_control_tokens
from edgelm.tune.data.problems import Problem
from edgelm.tune.data.records import (
    ChatRecord,
    CompletionRecord,
    JudgementRecord,
    Messages,
    PreferenceRecord,
    Record,
    TextRecord,
)
from edgelm.tune.data.rows import RowOrigin
from edgelm.units import count


def find_duplicates(records: Iterable[Record]) -> Iterator[Problem]:
    """Find rows that say what an earlier one says."""
    seen: dict[str, RowOrigin] = {}
    for record in records:
        first = seen.setdefault(record.content_key, record.origin)
        if first != record.origin:
            yield Problem(record.origin, "", f"the same as {first}", "duplicate", "warning")


def find_empty_answers(record: Record) -> Iterator[Problem]:
    """Find answers without a word: a row of nothing else cannot be trained."""
    empty, count = _empty_answers(record)
    if empty and len(empty) == count:
        yield Problem(record.origin, empty[0], "empty, and there is no other answer to train", "no target")
        return
    for field in empty:
        yield Problem(record.origin, field, "an empty answer", "empty answer", "warning")


def _empty_answers(record: Record) -> tuple[list[str], int]:
    """Fields of the empty answers, and how many answers there are."""
    if isinstance(record, CompletionRecord):
        return ([] if record.completion.strip() else ["completion"]), 1
    if not isinstance(record, ChatRecord):
        return [], 0
    answers = [
        (index, message)
        for index, message in enumerate(record.messages)
        if message["role"] == "assistant" and message.get("weight") != 0
    ]
    says = ("content", "tool_calls", "reasoning_content")
    empty = [i for i, m in answers if not any(str(m.get(key) or "").strip() for key in says)]
    return [f"messages[{index}].content" for index in empty], len(answers)


def find_empty_prompts(record: Record) -> Iterator[Problem]:
    """Find questions without a word: nothing is learnt of how to answer what was never asked."""
    if isinstance(record, TextRecord):
        return
    if isinstance(record, CompletionRecord):
        if not record.prompt.strip():
            yield Problem(record.origin, "prompt", "empty, expected what to answer", "empty prompt")
        return
    name, messages = (
        ("messages", record.messages) if isinstance(record, ChatRecord) else ("prompt", record.prompt)
    )
    asked = [(index, message) for index, message in enumerate(messages) if message["role"] == "user"]
    empty = [f"{name}[{index}].content" for index, message in asked if not message["content"].strip()]
    if empty and len(empty) == len(asked):
        yield Problem(record.origin, empty[0], "empty, and there is no other question", "empty prompt")
        return
    for field in empty:
        yield Problem(record.origin, field, "an empty question", "empty prompt", "warning")


def find_spelt_tokens(record: Record, tokenizer: Any = None) -> Iterator[Problem]:
    """Control tokens in what messages say: they are trained as text, which may not be what was meant.

    Args:
        record: a row; plain texts mean what they spell.
        tokenizer: of the model to be tuned; None looks for those of well-known families.
    """
    for field, text, is_answer in _texts(record):
        for token in find_control_tokens(text, tokenizer, is_answer=is_answer):
            if isinstance(record, CompletionRecord):
                reason = f"spells the control token {token}: text in a chat, the token itself in a plain completion"
            else:
                reason = f"spells the control token {token}: it is trained as text, not as the token"
            yield Problem(record.origin, field, reason, "control token", "warning")


def _texts(record: Record) -> Iterator[tuple[str, str, bool]]:
    """(field, text, whether it is of an answer) of all that a row says."""
    if isinstance(record, TextRecord):
        return
    if isinstance(record, CompletionRecord):
        yield from (("prompt", record.prompt, False), ("completion", record.completion, True))
        return
    for name in ("messages", "prompt", "chosen", "rejected", "completion"):
        for index, message in enumerate(getattr(record, name, ())):
            is_answer = message["role"] == "assistant"
            for key in ("content", "reasoning_content", "tool_calls"):
                value = message.get(key) or ""
                text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
                yield f"{name}[{index}].{key}", text, is_answer
    for index, tool in enumerate(record.tools):
        yield f"tools[{index}]", json.dumps(tool, ensure_ascii=False, default=str), False


def find_overlap(train: Iterable[Record], validation: Iterable[Record]) -> Iterator[Problem]:
    """Find validation rows whose prompt is trained on: a loss measured on them says too little."""
    trained = {record.prompt_key: record.origin for record in train}
    for record in validation:
        if record.prompt_key in trained:
            reason = f"its prompt is also in the training data, at {trained[record.prompt_key]}"
            yield Problem(record.origin, "", reason, "overlap", "warning")


def find_mixed_kinds(records: Sequence[Record]) -> Iterator[Problem]:
    """Find rows that need another kind of training than the first."""
    for record in records:
        if record.kind != records[0].kind:
            reason = (
                f"a row for {_NAMES[record.kind]}, but {records[0].origin} is for {_NAMES[records[0].kind]}"
            )
            yield Problem(record.origin, "", reason, "format")


_LOPSIDED = 1.5
"""From here on one side's length alone tells it from the other."""


def find_lone_verdicts(records: Sequence[Record]) -> Iterator[Problem]:
    """Find verdicts that are all the same: nothing is learnt of the difference."""
    judged = [record for record in records if isinstance(record, JudgementRecord)]
    verdicts = {record.is_desirable for record in judged}
    if len(verdicts) == 1:
        what = "desirable" if verdicts == {True} else "undesirable"
        reason = f"all {count(len(judged), 'answer')} are {what}: KTO needs both labels"
        yield Problem(judged[0].origin, "label", reason, "one label", "warning")
    if len(judged) == 1:
        reason = "the only row: KTO measures its divergence on answers to other prompts"
        yield Problem(judged[0].origin, "", reason, "one label", "warning")


def find_lopsided_pairs(records: Sequence[Record]) -> Iterator[Problem]:
    """Find that chosen answers are much longer or shorter than rejected ones, by characters in all: length would be learnt."""
    pairs = [record for record in records if isinstance(record, PreferenceRecord)]
    chosen, rejected = (sum(_said(getattr(pair, side)) for pair in pairs) for side in ("chosen", "rejected"))
    if not pairs or not chosen or not rejected or 1 / _LOPSIDED < chosen / rejected < _LOPSIDED:
        return
    longer = sum(_said(pair.chosen) > _said(pair.rejected) for pair in pairs)
    reason = (
        f"chosen answers have {chosen / rejected:.2f} times the characters of rejected ones"
        f" ({longer:,} of {len(pairs):,} are longer): length alone may be learnt"
    )
    yield Problem(pairs[0].origin, "", reason, "length ratio", "warning")


def _said(messages: Messages) -> int:
    return sum(len(message["content"]) for message in messages)


_NAMES = {"sft": "imitation", "preference": "preferences", "kto": "judgements (KTO)"}
