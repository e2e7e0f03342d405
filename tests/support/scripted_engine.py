"""A scripted model for the app: says what it is told to, at the pace of a gate."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from edgelm.errors import EngineError, FitError, NotFoundError, PromptError
from edgelm.runtime.events import ChatEvent, Finished, Prefill, Text, ToolCall, Usage


class ScriptedTokenizer:
    """Words are tokens."""

    has_chat_template = True
    added_tokens_decoder: Mapping[int, Any] = {}

    def apply_chat_template(
        self, messages: list[dict[str, Any]], *, tokenize: bool = True, **_: Any
    ) -> list[int] | str:
        text = " ".join(str(message["content"]) for message in messages)
        return self.encode(text) if tokenize else text

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return [len(word) for word in text.split()]


class ScriptedModel:
    """One model. Its answers come from `script`, else it repeats what it was asked."""

    def __init__(self, name: str, engine: ScriptedEngine, adapter: str | None) -> None:
        self.name = name
        self.adapter = adapter
        self.context_length: int | None = 8192
        self.tokenizer = ScriptedTokenizer()
        self.closed = False
        self._engine = engine

    def chat(
        self, *, system: str | None = None, messages: Iterable[Mapping[str, Any]] = (), **settings: Any
    ) -> Any:
        return _Chat(self, system, [dict(message) for message in messages], settings)

    def events(self, prompt: list[int], **settings: Any) -> Iterator[ChatEvent]:
        self._engine.asked.append({"ids": prompt, "settings": settings})
        return self._engine.say(" and so on")

    def close(self) -> None:
        self.closed = True

    def answer(self, asked: dict[str, Any]) -> Iterator[ChatEvent]:
        self._engine.asked.append(asked)
        return self._engine.say(asked["text"])


class LiveModel(ScriptedModel):
    """A model whose adapters change while it lives."""

    def __init__(self, name: str, engine: ScriptedEngine, adapter: str | None) -> None:
        super().__init__(name, engine, adapter)
        self.adapters: dict[str, float] = {adapter.rpartition("/")[2]: 1.0} if adapter else {}

    def add_adapter(self, adapter: str, weight: float = 1.0) -> str:
        name = adapter.rpartition("/")[2]
        self.adapters[name] = weight
        return name

    def set_adapter(self, name: str, weight: float) -> None:
        self.adapters[name] = weight


class _Chat:
    def __init__(
        self,
        model: ScriptedModel,
        system: str | None,
        messages: list[dict[str, Any]],
        settings: dict[str, Any],
    ) -> None:
        self._model, self._system, self._messages, self._settings = model, system, messages, settings

    def events(self, text: str) -> Iterator[ChatEvent]:
        asked = {"text": text, "system": self._system, "messages": self._messages, "settings": self._settings}
        return self._model.answer(asked)


class ScriptedEngine:
    """Stands where `edgelm.api.load` stands.

    Attributes:
        gate: while it is closed, an answer waits before each piece.
        asked: every question, with its settings.
        script: prompt → what to answer, as text or as events.
    """

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.loading = threading.Event()
        self.loading.set()
        self.models: list[ScriptedModel] = []
        self.asked: list[dict[str, Any]] = []
        self.script: dict[str, str | list[ChatEvent | Exception]] = {}
        self.steps = 0
        self.pace_s = 0.05
        self.kind: type[ScriptedModel] = ScriptedModel

    def load(self, name: str, adapter: str | None = None) -> ScriptedModel:
        self.loading.wait(10)
        if name == "missing":
            raise NotFoundError("no model 'missing'", hint="did you mean tiny?")
        if name == "huge":
            raise FitError("huge needs 99 GB, 8 GB are free")
        self.models.append(self.kind(name, self, adapter))
        return self.models[-1]

    def say(self, text: str) -> Iterator[ChatEvent]:
        if text == "too long":
            raise PromptError("the prompt has 9 tokens, expected at most 8", hint="say less")
        yield Prefill(256, 512, 100)
        self._wait()
        yield Prefill(512, 512, 100)
        said = 0
        for piece in self._pieces(text):
            self._wait()
            if isinstance(piece, Exception):
                raise piece
            said += 1
            yield piece
            if isinstance(piece, Finished):
                return
        yield Finished("stop", Usage(512, 100, said, 0.1, 0.25, 1.0, 0))

    def _pieces(self, text: str) -> list[ChatEvent | Exception]:
        if text == "think":
            call = ToolCall("weather", {"city": "Paris"}, "weather(Paris)")
            return [Text("let me see", "thinking"), call, Text("so")]
        if text == "break":
            return [Text("half an "), EngineError("the engine broke", hint="load the model again")]
        scripted = self.script.get(text)
        if isinstance(scripted, list):
            return scripted
        words = (scripted or f"You said: {text}").split(" ")
        return [Text(word if at == 0 else f" {word}") for at, word in enumerate(words)]

    def _wait(self) -> None:
        self.steps += 1
        if not self.gate.is_set():
            self.gate.wait(self.pace_s)
