"""Which tokens of a conversation are the assistant's: from prefixes of the rendered template that are verified.

For each answer the template is rendered up to the question, open for the reply, and up to the answer, closed.
What the second has more than the first is the answer as the model will have to say it, header excluded and stop
token included, provided that both are true prefixes of the whole; if they are not, the row is refused with the
reason, since no mask would then be what the model sees when it is used. Token ids are split at the same places,
so that a prompt has the very ids it has in a chat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgelm.errors import PromptError
from edgelm.text.control_tokens import unguarded
from edgelm.text.prompt import encode_rendered, render_chat
from edgelm.tune.data.encoding.messages import RowError
from edgelm.tune.data.rows import Example, RowOrigin

_SHOWN_CHARS = 24


@dataclass(frozen=True, slots=True)
class AnswerSpan:
    """Where one answer lies in the rendered text."""

    begin: int
    end: int


class ChatEncoder:
    """Conversations to token ids and marks, through one model's tokenizer.

    Args:
        tokenizer: mlx-lm's TokenizerWrapper, with a chat template.
        thinking: the template's `enable_thinking`; None leaves the model's default.
    """

    def __init__(self, tokenizer: Any, *, thinking: bool | None = None) -> None:
        self._tokenizer = tokenizer
        self._thinking = thinking
        self._stops = frozenset(tokenizer.eos_token_ids)

    def encode(
        self,
        messages: Sequence[Mapping[str, Any]],
        answers: Sequence[int],
        origin: RowOrigin,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> Example:
        """Encode a conversation in which the messages at the indices `answers` are trained.

        Raises:
            RowError: the template refuses the messages, or breaks the prefix property.
        """
        whole = self._render(messages, tools, is_open=False)
        spans = [self._locate(messages, index, tools, whole) for index in answers]
        tokens, bounds = self._split(whole, spans)
        trained = [False] * len(tokens)
        for begin, end in bounds:
            for at in range(max(begin, 1), self._last_stop(tokens, begin, end)):
                trained[at] = True
        return Example(tuple(tokens), tuple(trained), origin)

    def has_stop(self, example: Example) -> bool:
        """Tell whether the last answer ends in a token that the model stops at."""
        last = max((at for at, is_trained in enumerate(example.trained) if is_trained), default=None)
        return last is not None and example.tokens[last] in self._stops

    def left_out(
        self,
        messages: Sequence[Mapping[str, Any]],
        answers: Sequence[int],
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> list[tuple[str, str]]:
        """(field, reason) of what an answer has and the template does not write: thinking, tool calls."""
        wanted = [(index, key, text) for index in answers for key, text in _essentials(messages[index])]
        whole = unguarded(self._render(messages, tools, is_open=False)) if wanted else ""
        return [
            (f"messages[{index}].{key}", "the template leaves this out, so it would not be trained")
            for index, key, text in wanted
            if text not in whole
        ]

    def _render(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], *, is_open: bool
    ) -> str:
        try:
            return render_chat(
                self._tokenizer, messages, is_open=is_open, enable_thinking=self._thinking, tools=tools
            )
        except PromptError as error:
            raise RowError("messages", error.message, "template") from error

    def _locate(
        self,
        messages: Sequence[Mapping[str, Any]],
        index: int,
        tools: Sequence[Mapping[str, Any]],
        whole: str,
    ) -> AnswerSpan:
        before = self._render(messages[:index], tools, is_open=True)
        is_last = index == len(messages) - 1
        after = whole if is_last else self._render(messages[: index + 1], tools, is_open=False)
        field = f"messages[{index}]"
        end = self._tokenizer.eos_token
        if not whole.startswith(after) and end and after.endswith(end) and whole.endswith(end):
            # Phi's templates end whatever is not open with it, however many turns there are.
            after = after.removesuffix(end)
        if not whole.startswith(after):
            shown = _difference(after, whole)
            raise RowError(
                field, f"the template writes this turn differently once others follow: {shown}", "template"
            )
        if not after.startswith(before):
            shown = _difference(before, after)
            raise RowError(
                field, f"the template invites this reply differently than it writes it: {shown}", "template"
            )
        return AnswerSpan(len(before), len(after))

    def _split(self, whole: str, spans: Sequence[AnswerSpan]) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids of `whole`, and where in them the spans lie.

        As one text where every border of a span is a border of tokens; else piece by piece, since a token
        across the border is one that no chat would have there.
        """
        tokens = encode_rendered(self._tokenizer, whole)
        cuts = [cut for span in spans for cut in (span.begin, span.end)]
        borders = [len(tokens) if cut == len(whole) else self._border(whole[:cut], tokens) for cut in cuts]
        if None in borders:
            tokens, borders = self._pieces(whole, cuts, tokens)
        ends = [border for border in borders if border is not None]
        return tokens, list(zip(ends[::2], ends[1::2], strict=True))

    def _border(self, text: str, tokens: list[int]) -> int | None:
        prefix = encode_rendered(self._tokenizer, text)
        return len(prefix) if tokens[: len(prefix)] == prefix else None

    def _pieces(
        self, whole: str, cuts: Sequence[int], joined: list[int]
    ) -> tuple[list[int], list[int | None]]:
        tokens: list[int] = []
        borders: list[int | None] = []
        for begin, end in zip((0, *cuts), (*cuts, len(whole)), strict=True):
            tokens += encode_rendered(self._tokenizer, whole[begin:end]) if end > begin else []
            borders.append(len(tokens))
        if self._tokenizer.decode(tokens) != self._tokenizer.decode(joined):
            raise RowError("messages", "a token reaches across the start or end of an answer", "template")
        return tokens, borders[:-1]

    def _last_stop(self, tokens: Sequence[int], begin: int, end: int) -> int:
        """The end of what the model has to say: after the stop token, templates put white space, or more of them."""
        cut = end
        for at in range(end - 1, begin - 1, -1):
            if tokens[at] in self._stops:
                cut = at + 1
            elif self._tokenizer.decode([tokens[at]]).strip():
                break
        return cut


def _essentials(message: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(key, text) of what must show in the rendered text."""
    calls = message.get("tool_calls") or []
    written_in = message["content"].partition("<think>")[2].partition("</think>")[0]
    parts = [
        ("reasoning_content", str(message.get("reasoning_content") or "")),
        ("content", written_in),
        *(("tool_calls", str((call.get("function") or call).get("name"))) for call in calls),
    ]
    return [(key, text.strip()) for key, text in parts if text.strip()]


def _difference(prefix: str, whole: str) -> str:
    """The first place where `whole` departs from what should have been its prefix."""
    at = next((i for i, (a, b) in enumerate(zip(prefix, whole, strict=False)) if a != b), len(whole))
    return f"{_excerpt(prefix, at)} became {_excerpt(whole, at)}"


def _excerpt(text: str, at: int) -> str:
    begin = max(0, at - _SHOWN_CHARS // 2)
    end = at + _SHOWN_CHARS // 2
    return repr(unguarded(("…" if begin else "") + text[begin:end] + ("…" if end < len(text) else "")))
