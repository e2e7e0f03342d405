"""Answers to fixed prompts, greedily, so that one can watch what a model learns. Changes no random state."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgelm.runs.events import SampleAnswer
from edgelm.runtime.engine import Engine
from edgelm.runtime.events import Finished
from edgelm.runtime.requests import Request
from edgelm.text.prompt import encode_chat, encode_text
from edgelm.tune.data.dataset import Dataset

_FROM_DATA = 2
_SEARCHED = 64
"""Sequences that are looked at for prompts that differ."""
_SHOWN_CHARS = 300


@dataclass(frozen=True)
class FixedPrompt:
    """What is asked, and how it is shown."""

    text: str
    ids: tuple[int, ...]


def choose_prompts(asked: Sequence[str], tokenizer: Any, data: Dataset) -> tuple[FixedPrompt, ...]:
    """Choose the prompts that were asked for, else the first of the data."""
    if asked:
        encode = _as_chat if tokenizer.has_chat_template else encode_text
        return tuple(FixedPrompt(text, tuple(encode(tokenizer, text))) for text in asked)
    asked_in = (
        example.tokens[: example.prompt_size]
        for example in data.sequences
        if 0 < example.prompt_size < len(example.tokens) or data.kind == "rollout"
    )
    different = itertools.islice(dict.fromkeys(itertools.islice(asked_in, _SEARCHED)), _FROM_DATA)
    return tuple(FixedPrompt(shown(ids, tokenizer), ids) for ids in different)


def shown(ids: Sequence[int], tokenizer: Any) -> str:
    """Decode what a person recognises a prompt of the data by: its last message, without the template around it."""
    special = set(tokenizer.all_special_ids)
    parts: list[list[int]] = [[]]
    for token in ids:
        if token in special:
            parts.append([])
        else:
            parts[-1].append(token)
    texts = [str(tokenizer.decode(part)).strip() for part in parts]
    spoken = [text for text in texts if len(text.split()) > 1]  # one word names a role
    if not spoken:
        return str(tokenizer.decode(list(ids)))[-_SHOWN_CHARS:]
    role, _, message = spoken[-1].partition("\n")
    text = message if message and len(role.split()) == 1 and len(texts) > 1 else spoken[-1]
    return text.strip()[-_SHOWN_CHARS:]


def _as_chat(tokenizer: Any, text: str) -> list[int]:
    return encode_chat(tokenizer, [{"role": "user", "content": text}])


class PromptAnswers:
    """A network's answers to fixed prompts.

    Args:
        loaded: a `LoadedModel`.
        prompts: what to ask.
        max_tokens: of one answer.
    """

    def __init__(self, loaded: Any, prompts: Sequence[FixedPrompt], max_tokens: int) -> None:
        self._loaded = loaded
        self._prompts = prompts
        self._max_tokens = max_tokens

    def __call__(self) -> tuple[SampleAnswer, ...]:
        """What it answers now."""
        if not self._prompts:
            return ()
        loaded = self._loaded
        loaded.network.eval()
        engine = Engine(loaded.network, vocab_size=loaded.vocab_size, context_length=loaded.context_length)
        try:
            return tuple(SampleAnswer(prompt.text, self._answer(engine, prompt)) for prompt in self._prompts)
        finally:
            loaded.network.train()
            engine.reset()

    def _answer(self, engine: Engine, prompt: FixedPrompt) -> str:
        request = Request(prompt.ids, max_tokens=self._max_tokens, stop_tokens=self._loaded.stop_tokens)
        events = engine.generate(request, threading.Event())
        (tokens,) = (event.tokens for event in events if isinstance(event, Finished))
        return str(self._loaded.tokenizer.decode(list(tokens)))
