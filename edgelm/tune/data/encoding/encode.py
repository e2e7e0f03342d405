"""Records to rows of token ids: chats through the template, plain texts with an end-of-text token.

Knows nothing about files, nor how long a row may be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgelm.errors import PromptError
from edgelm.text.prompt import encode_text
from edgelm.tune.data.encoding.masks import ChatEncoder
from edgelm.tune.data.encoding.messages import RowError
from edgelm.tune.data.problems import Problem
from edgelm.tune.data.records import (
    ChatRecord,
    CompletionRecord,
    JudgementRecord,
    Messages,
    PreferenceRecord,
    Record,
    TextRecord,
    Tools,
)
from edgelm.tune.data.rows import Example, Judged, Pair, Row, RowOrigin
from edgelm.tune.data.settings import DataSettings

_EACH = "--turns each makes one row of every answer, --turns last trains the last only"


class RowEncoder:
    """Rows for one model.

    Args:
        tokenizer: mlx-lm's TokenizerWrapper.
        settings: which turns are trained, and how completions are written.
    """

    def __init__(self, tokenizer: Any, settings: DataSettings) -> None:
        self._tokenizer = tokenizer
        self._settings = settings
        self._chat = ChatEncoder(tokenizer, thinking=settings.thinking)

    def encode(self, record: Record) -> tuple[list[Row], list[Problem]]:
        """Return the rows that the record becomes (several only for `turns="each"`), and what is wrong with it.

        Raises:
            PromptError: a chat, and the model has no chat template.
        """
        try:
            rows = self._rows(record)
        except RowError as error:
            reason = f"{error.reason} ({_EACH})" if "once others follow" in error.reason else error.reason
            return [], [Problem(record.origin, error.field, reason, error.sort)]
        empty = [row for row in rows if row.target_count == 0]
        if empty:
            reason = "no token would be trained: every answer is empty"
            return [], [Problem(record.origin, "", reason, "no target")]
        return rows, self._warnings(record, rows)

    def _rows(self, record: Record) -> list[Row]:
        if isinstance(record, TextRecord):
            return [self._plain("", record.text, record.origin)]
        if isinstance(record, CompletionRecord):
            return [self._completion(record)]
        self._require_template()
        if isinstance(record, ChatRecord):
            return list(self._turns(record))
        if isinstance(record, PreferenceRecord):
            return [self._pair(record)]
        return [self._judged(record)]

    def _require_template(self) -> None:
        if not self._tokenizer.has_chat_template:
            raise PromptError(
                "the data holds chats, and this model has no chat template",
                hint="choose an instruct model, or give plain text, or completions with --completions plain",
            )

    def _turns(self, chat: ChatRecord) -> list[Example]:
        return [
            self._answered(messages, answers, chat.tools, chat.origin)
            for messages, answers in self._parts(chat)
        ]

    def _parts(self, chat: ChatRecord) -> list[tuple[Messages, list[int]]]:
        """The conversations that the chat becomes, with the answers trained in each."""
        answers = _answers(chat.messages)
        if self._settings.turns == "each":
            return [(chat.messages[: at + 1], [at]) for at in answers]
        return [(chat.messages, answers[-1:] if self._settings.turns == "last" else answers)]

    def _answered(
        self, messages: Messages, answers: Sequence[int], tools: Tools, origin: RowOrigin
    ) -> Example:
        return self._chat.encode(messages, answers, origin, tools)

    def _completion(self, record: CompletionRecord) -> Example:
        if self._settings.completions == "plain" or not self._tokenizer.has_chat_template:
            return self._plain(record.prompt, record.completion, record.origin)
        return self._answered(_as_chat(record), [1], (), record.origin)

    def _plain(self, prompt: str, text: str, origin: RowOrigin) -> Example:
        """`prompt` has the ids it has when it is asked; `text` and the end after it are trained."""
        asked = encode_text(self._tokenizer, prompt) if prompt else []
        if prompt:
            answer = list(self._tokenizer.encode(text, add_special_tokens=False))
            joined = encode_text(self._tokenizer, prompt + text)
            if joined[: len(asked)] == asked:
                answer = joined[len(asked) :]
            elif self._tokenizer.decode(asked + answer) != self._tokenizer.decode(joined):
                raise RowError("completion", "a token reaches across its start", "template")
        else:
            answer = encode_text(self._tokenizer, text)
        end = self._tokenizer.eos_token_id
        tokens = [*asked, *answer] + ([end] if end is not None and answer[-1:] != [end] else [])
        trained = [at >= max(len(asked), 1) for at in range(len(tokens))]
        return Example(tuple(tokens), tuple(trained), origin)

    def _pair(self, record: PreferenceRecord) -> Pair:
        chosen, rejected = (
            self._after(record.prompt, answer, record.tools, record.origin)
            for answer in (record.chosen, record.rejected)
        )
        size = chosen.prompt_size
        if size != rejected.prompt_size or chosen.tokens[:size] != rejected.tokens[:size]:
            raise RowError("prompt", "chosen and rejected do not begin with the same tokens", "template")
        if chosen.tokens == rejected.tokens:
            raise RowError("rejected", "the same as chosen once it is written by the template", "no target")
        return Pair(chosen, rejected, record.origin)

    def _judged(self, record: JudgementRecord) -> Judged:
        example = self._after(record.prompt, record.completion, record.tools, record.origin)
        return Judged(example, record.is_desirable, record.origin)

    def _after(self, prompt: Messages, answer: Messages, tools: Tools, origin: RowOrigin) -> Example:
        answers = [len(prompt) + at for at in _answers(answer)]
        return self._answered(prompt + answer, answers, tools, origin)

    def _warnings(self, record: Record, rows: Sequence[Row]) -> list[Problem]:
        problems = self._left_out(record) if isinstance(record, ChatRecord) else []
        sequences = [sequence for row in rows for sequence in row.sequences]
        if not all(self._chat.has_stop(sequence) for sequence in sequences):
            reason = "no token that the model stops at is trained after the answer: it may not learn to end"
            problems.append(Problem(record.origin, "", reason, "no stop", "warning"))
        return problems

    def _left_out(self, chat: ChatRecord) -> list[Problem]:
        return [
            Problem(chat.origin, field, reason, "left out", "warning")
            for messages, answers in self._parts(chat)
            for field, reason in self._chat.left_out(messages, answers, chat.tools)
        ]


def _answers(messages: Messages) -> list[int]:
    return [
        index
        for index, message in enumerate(messages)
        if message["role"] == "assistant" and message.get("weight") != 0
    ]


def _as_chat(record: CompletionRecord) -> Messages:
    return ({"role": "user", "content": record.prompt}, {"role": "assistant", "content": record.completion})
