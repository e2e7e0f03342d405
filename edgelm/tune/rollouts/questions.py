"""Rows to answer: a prompt, and whatever a reward reads beside it.

prompt                messages, or text (a question of a chat where the model has a template, else text to continue)
messages              a chat; what comes before its last answer is asked
question              text, as GSM8K has it
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgelm.errors import EdgeLMError, FormatError
from edgelm.messages.calls import read_tools
from edgelm.messages.values import MessageError, read_text
from edgelm.rewards.combined import Rewards
from edgelm.text.prompt import encode_chat, encode_text
from edgelm.tune.data.encoding.messages import RowError, read_messages
from edgelm.tune.data.problems import Problem, Report
from edgelm.tune.data.reading.readers import read_rows
from edgelm.tune.data.reading.written import Written
from edgelm.tune.data.rows import RowOrigin

_ASKING = ("prompt", "messages", "question")
_ANSWERED = ("completion", "chosen", "rejected", "response", "output", "label")


@dataclass(frozen=True)
class RewardedQuestion:
    """A row that asks, and what rewards read of it."""

    ids: tuple[int, ...]
    """The prompt as the network reads it."""
    prompt: str | tuple[Mapping[str, Any], ...]
    """As it was written."""
    columns: Mapping[str, Any]
    """The other fields, for rewards."""
    origin: RowOrigin
    tools: tuple[Mapping[str, Any], ...] = ()


@dataclass
class QuestionFile:
    """The rows of a file, and what is wrong with others. Call `report.require_clean()` before training."""

    rows: list[RewardedQuestion] = field(default_factory=list)
    report: Report = field(default_factory=Report)


def read_questions(
    source: str, tokenizer: Any | None, rewards: Rewards, *, longest: int | None = None
) -> QuestionFile:
    """Read every row of a file or Hub dataset.

    Args:
        tokenizer: of the model that answers; None leaves every question's `ids` empty.
        rewards: what they read of a row has to be there.
        longest: most tokens of a prompt; None is without limit.

    Raises:
        NotFoundError, FormatError, UnsupportedError, NetworkError: see `readers.read_rows`; FormatError also without rows.
    """
    read = QuestionFile()
    for row in read_rows(source):
        read.report.rows += 1
        if isinstance(row, Problem):
            read.report.problems.append(row)
            continue
        try:
            read.rows.append(_question(row, tokenizer, rewards, longest))
            read.report.formats["question"] += 1
        except MessageError as error:
            sort = error.sort if isinstance(error, RowError) else "field"
            read.report.problems.append(Problem(row.origin, error.field, error.reason, sort))
        except EdgeLMError as error:
            read.report.problems.append(Problem(row.origin, "", error.message, "field"))
    if not read.report.rows:
        raise FormatError(f"{source} holds no rows")
    read.report.extend(_duplicates(read.rows))
    return read


def is_question(row: Written) -> bool:
    """Tell whether a row asks and holds no answer: such rows can be rewarded, and not imitated."""
    if isinstance(row.value.get("messages"), list):
        last = row.value["messages"][-1:]
        return bool(last) and isinstance(last[0], Mapping) and last[0].get("role") == "user"
    asks = any(row.value.get(key) not in (None, "", []) for key in _ASKING)
    return asks and not any(row.value.get(key) is not None for key in _ANSWERED)


def _duplicates(rows: Sequence[RewardedQuestion]) -> Iterator[Problem]:
    """Find rows that ask what an earlier one asks and are rewarded alike: they are answered twice as often."""
    seen: dict[str, RowOrigin] = {}
    for row in rows:
        said = json.dumps([row.prompt, row.tools, row.columns], sort_keys=True, default=_plain)
        first = seen.setdefault(said, row.origin)
        if first != row.origin:
            yield Problem(row.origin, "", f"the same as {first}", "duplicate", "warning")


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)


def _question(row: Written, tokenizer: Any | None, rewards: Rewards, longest: int | None) -> RewardedQuestion:
    tools = tuple(read_tools(row.value.get("tools")))
    name, prompt = _asked(row.value)
    columns = {key: value for key, value in row.value.items() if key not in (name, "tools")}
    rewards.check_row(columns, "the row")
    ids = () if tokenizer is None else encoded(tokenizer, prompt, tools)
    if longest is not None and len(ids) > longest:
        raise RowError(name, f"{len(ids):,} tokens, expected at most {longest:,}", "too long")
    return RewardedQuestion(tuple(ids), prompt, columns, row.origin, tools)


def encoded(
    tokenizer: Any, prompt: str | Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()
) -> list[int]:
    """Return the ids of a prompt, open for an answer.

    Raises:
        PromptError: messages, and a model without a chat template; or the template refuses them.
    """
    if isinstance(prompt, str) and not tokenizer.has_chat_template:
        return encode_text(tokenizer, prompt)
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return encode_chat(tokenizer, messages, tools=list(tools) or None)


def _asked(row: Mapping[str, Any]) -> tuple[str, str | tuple[Mapping[str, Any], ...]]:
    name = next((key for key in _ASKING if row.get(key) not in (None, "", [])), None)
    if name is None:
        given = ", ".join(map(str, row)) or "none"
        raise RowError("", f"nothing is asked: expected {', '.join(_ASKING)}; keys are {given}", "format")
    if isinstance(row[name], str):
        text = read_text(row[name], name)
        if not text.strip():
            raise RowError(name, "empty, expected a question", "empty prompt")
        return name, text
    messages = read_messages(row[name], name)
    last = max((at for at, message in enumerate(messages) if message["role"] == "assistant"), default=-1)
    if last == len(messages) - 1:  # its answer is what the network is to find by itself
        messages = messages[:last]
    if not messages:
        raise RowError(name, "holds an answer alone, expected what it answers", "empty prompt")
    return name, messages
