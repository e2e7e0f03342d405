"""Which format a row is written in, told from its keys, and what it says.

    messages                        a chat (OpenAI, mlx-lm); `tools` beside it
    conversations                   ShareGPT: `from` and `value`; `system` and `tools` beside it
    chosen, rejected                a preference; `prompt` beside it, or the turns that both begin with, also as transcripts
                                    of `Human:` and `Assistant:`; `margin` for reward models
    prompt, completion, label       a judgement (KTO)
    prompt, completion              a completion; of messages, a chat
    instruction, output             Alpaca; `input`, `system` and `history` beside it
    text                            plain text

Each row is told by itself: one file may mix formats, but not kinds of training.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from edgelm.messages.calls import read_tools
from edgelm.messages.values import MessageError, describe, read_list, read_text
from edgelm.tune.data.encoding.messages import RowError, read_messages
from edgelm.tune.data.problems import Problem
from edgelm.tune.data.reading.written import Written
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

_LABELS = {"true": True, "1": True, "1.0": True, "yes": True, "good": True, "desirable": True, "up": True, "👍": True,
           "false": False, "0": False, "0.0": False, "no": False, "bad": False, "undesirable": False, "down": False,
           "-1": False, "-1.0": False, "👎": False}  # fmt: skip
_TURN = re.compile(r"\n\n(Human|Assistant):[ \n]?")
"""The turns of Anthropic's transcripts (hh-rlhf), which hold a whole conversation in one text."""


def read_record(row: Written) -> tuple[str, Record] | Problem:
    """Read a row: return its format's name and what it says, or what is wrong with it."""
    try:
        name, read = _recognise(row.value)
        return name, read(row.value, row.origin)
    except MessageError as error:
        sort = error.sort if isinstance(error, RowError) else "field"
        return Problem(row.origin, error.field, error.reason, sort)


def _recognise(row: Mapping[str, Any]) -> tuple[str, Callable[[Mapping[str, Any], RowOrigin], Record]]:
    if "edgelm_chat" in row:
        reason = "a chat with all its alternatives, expected rows: /feedback FILE preferences (or labels) writes them"
        raise RowError("edgelm_chat", reason, "format")
    # A table has every column in every row; a format is there where its cells are, and a CSV's empty cell is none.
    for none in ((None, ""), (None,)):
        for name, needed, read in _FORMATS:
            if all(row.get(key) not in none for key in needed):
                return name, read
    given = ", ".join(map(str, row)) or "none"
    half = [f"{key} is missing" for key, other in _HALVES if other in row and row.get(key) is None]
    empty = [key for _, needed, _ in _FORMATS for key in needed if key in row and row[key] is None]
    reason = half[0] if half else f"{empty[0]} is null" if empty else f"unknown format: {_EXPECTED}"
    raise RowError("", f"{reason}; keys are {given}", "format")


def _chat(row: Mapping[str, Any], origin: RowOrigin) -> ChatRecord:
    return _checked(
        ChatRecord(read_messages(row["messages"], "messages"), read_tools(row.get("tools")), origin)
    )


def _share_gpt(row: Mapping[str, Any], origin: RowOrigin) -> ChatRecord:
    system = _system(row)
    messages = system + read_messages(row["conversations"], "conversations")
    return _checked(ChatRecord(messages, read_tools(row.get("tools")), origin), "conversations")


def _alpaca(row: Mapping[str, Any], origin: RowOrigin) -> ChatRecord:
    question = read_text(row["instruction"], "instruction")
    more = read_text(row.get("input") or "", "input")
    if not question.strip() and not more.strip():
        raise RowError("instruction", "empty, expected what to do")
    asked = "\n\n".join(part for part in (question, more) if part)
    answer = read_text(row["output"], "output")
    turns = (*_history(row), ("user", asked), ("assistant", answer))
    return ChatRecord(_system(row) + tuple(_message(role, text) for role, text in turns), (), origin)


def _history(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    turns: list[tuple[str, str]] = []
    for index, pair in enumerate(read_list(row.get("history") or [], "history")):
        field = f"history[{index}]"
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise RowError(field, f"{describe(pair)}, expected a question and an answer")
        turns += [("user", read_text(pair[0], field)), ("assistant", read_text(pair[1], field))]
    return turns


def _completion(row: Mapping[str, Any], origin: RowOrigin) -> ChatRecord | CompletionRecord:
    if isinstance(row["prompt"], str) and isinstance(row["completion"], str):
        prompt, completion = (read_text(row[key], key) for key in ("prompt", "completion"))
        return CompletionRecord(prompt, completion, origin)
    messages = _asked(row["prompt"], "prompt") + _answered(row["completion"], "completion")
    return _checked(ChatRecord(messages, read_tools(row.get("tools")), origin), "completion")


def _text(row: Mapping[str, Any], origin: RowOrigin) -> TextRecord:
    text = read_text(row["text"], "text")
    if not text.strip():
        raise RowError("text", "empty, expected text", "no target")
    return TextRecord(text, origin)


def _preference(row: Mapping[str, Any], origin: RowOrigin) -> PreferenceRecord:
    if row.get("prompt") is None and all(_is_transcript(row[key]) for key in ("chosen", "rejected")):
        chosen, rejected = (_turns_of(row[key]) for key in ("chosen", "rejected"))
    else:
        chosen, rejected = (_answered(row[key], key) for key in ("chosen", "rejected"))
    if row.get("prompt") is not None:
        prompt: Messages = _asked(row["prompt"], "prompt")
        chosen, rejected = _without(prompt, chosen), _without(prompt, rejected)
    else:
        prompt, chosen, rejected = _common_prompt(chosen, rejected)
    _check_one_prompt(prompt, chosen, rejected)
    _check_answer(chosen, "chosen")
    _check_answer(rejected, "rejected")
    if chosen == rejected:
        raise RowError("rejected", "the same as chosen, which teaches nothing", "no target")
    margin = _read_margin(row.get("margin"))
    return PreferenceRecord(prompt, chosen, rejected, read_tools(row.get("tools")), origin, margin=margin)


def _read_margin(value: Any) -> float:
    """Read by how much chosen is to score above rejected; 0 where nothing is said, NaN where that is no finite number.

    Only reward models ask: another loss does not mind what a column of this name holds.
    """
    if value is None or value == "":
        return 0.0
    try:
        margin = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return margin if math.isfinite(margin) else math.nan


def _is_transcript(value: Any) -> bool:
    return isinstance(value, str) and _TURN.match(value) is not None


def _turns_of(text: str) -> Messages:
    """The messages of a transcript."""
    _, *parts = _TURN.split(text)
    roles = {"Human": "user", "Assistant": "assistant"}
    return tuple(
        _message(roles[who], said.strip()) for who, said in zip(parts[::2], parts[1::2], strict=True)
    )


def _check_one_prompt(prompt: Messages, chosen: Messages, rejected: Messages) -> None:
    """Answers that begin with a question of their own were not given to the prompt, or not to the same one."""
    for field, answer in (("chosen", chosen), ("rejected", rejected)):
        asked = [message for message in answer if message["role"] == "user"]
        if answer and answer[0]["role"] == "user" and asked:
            other = "the other answer has" if not prompt else "prompt says"
            raise RowError(
                f"{field}[0].role",
                f"'user', expected the assistant's answer: it begins with another question than {other}",
            )


def _without(prompt: Messages, answer: Messages) -> Messages:
    """Some datasets repeat the prompt in the answer."""
    size = len(prompt)
    return answer[size:] if len(answer) > size and answer[:size] == prompt else answer


def _common_prompt(chosen: Messages, rejected: Messages) -> tuple[Messages, Messages, Messages]:
    if not chosen or not rejected:
        raise RowError("rejected" if chosen else "chosen", "empty, expected an answer", "no target")
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    if shared == 0:
        raise RowError(
            "prompt",
            "missing, and chosen and rejected do not begin with the same turns: their prompts differ",
        )
    return chosen[:shared], chosen[shared:], rejected[shared:]


def _judgement(row: Mapping[str, Any], origin: RowOrigin) -> JudgementRecord:
    prompt, completion = _asked(row["prompt"], "prompt"), _answered(row["completion"], "completion")
    _check_answer(completion, "completion")
    return JudgementRecord(
        prompt, completion, _read_label(row["label"]), read_tools(row.get("tools")), origin
    )


def _read_label(value: Any) -> bool:
    label = _LABELS.get(str(value).strip().lower()) if isinstance(value, (str, int, float)) else None
    if label is None:
        raise RowError("label", f"{describe(value)}, expected true or false")
    return label


def _asked(value: Any, field: str) -> Messages:
    """A prompt: one question, or turns of which the last asks."""
    if isinstance(value, str) and not value.lstrip().startswith("[{"):
        return (_message("user", read_text(value, field)),)
    return read_messages(value, field)


def _answered(value: Any, field: str) -> Messages:
    if isinstance(value, str) and not value.lstrip().startswith("[{"):
        return (_message("assistant", read_text(value, field)),)
    return read_messages([value] if isinstance(value, Mapping) else value, field)


def _check_answer(messages: Messages, field: str) -> None:
    if messages[0]["role"] != "assistant":
        raise RowError(
            f"{field}[0].role", f"{describe(messages[0]['role'])}, expected the assistant's answer"
        )
    if not any(message["content"].strip() or message.get("tool_calls") for message in messages):
        raise RowError(field, "empty, expected an answer", "no target")


def _checked(chat: ChatRecord, field: str = "messages") -> ChatRecord:
    answers = [message for message in chat.messages if message["role"] == "assistant"]
    if not answers:
        raise RowError(field, "no message of the assistant, so nothing would be trained", "no target")
    if all(message.get("weight") == 0 for message in answers):
        raise RowError(field, "every answer has weight 0, so nothing would be trained", "no target")
    return chat


def _system(row: Mapping[str, Any]) -> Messages:
    text = read_text(row.get("system") or "", "system")
    return (_message("system", text),) if text else ()


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": text}


_FORMATS: tuple[tuple[str, tuple[str, ...], Callable[[Mapping[str, Any], RowOrigin], Record]], ...] = (
    ("chat", ("messages",), _chat),
    ("sharegpt", ("conversations",), _share_gpt),
    ("preference", ("chosen", "rejected"), _preference),
    ("kto", ("prompt", "completion", "label"), _judgement),
    ("completion", ("prompt", "completion"), _completion),
    ("alpaca", ("instruction", "output"), _alpaca),
    ("text", ("text",), _text),
)

_HALVES = (
    ("rejected", "chosen"), ("chosen", "rejected"), ("output", "instruction"), ("instruction", "output"),
    ("completion", "prompt"), ("prompt", "completion"),
)  # fmt: skip
"""(what is missing, beside what)."""

_EXPECTED = (
    "expected messages, conversations, prompt and completion, instruction and output, text,"
    " or chosen and rejected"
)
