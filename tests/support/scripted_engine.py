"""A scripted model for the app: says what it is told to, at the pace of a gate."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgelm.errors import EngineError, FitError, NotFoundError, PromptError
from edgelm.runtime.events import ChatEvent, Finished, Prefill, Text, ToolCall, Usage
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.runtime.generation.recommended import Recommended


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
        self.directory: Path | None = None
        self.size_bytes: int | None = None
        self.defaults = GenerationOptions()
        self.recommended = Recommended()
        self.adapters: dict[str, float] = {adapter.rpartition("/")[2]: 1.0} if adapter else {}
        self.context_length: int | None = 8192
        self.tokenizer = ScriptedTokenizer()
        self.closed = False
        self._engine = engine
        self._directories = {adapter.rpartition("/")[2]: adapter} if adapter else {}

    @property
    def adapter(self) -> str | None:
        """The directory of the adapter that acts."""
        return next((self._directories[name] for name, weight in self.adapters.items() if weight), None)

    def add_adapter(self, adapter: str, weight: float = 1.0) -> str:
        name = adapter.rpartition("/")[2]
        self.adapters[name], self._directories[name] = weight, adapter
        return name

    def set_adapter(self, name: str, weight: float) -> None:
        self.adapters[name] = weight

    def stop(self) -> None:
        """Answers end when their reader leaves."""

    def chat(
        self, *, system: str | None = None, messages: Iterable[Mapping[str, Any]] = (), **settings: Any
    ) -> ScriptedChat:
        return ScriptedChat(self, system, [dict(message) for message in messages], settings)

    def events(self, prompt: str | Sequence[int], **settings: Any) -> Generator[ChatEvent, None, None]:
        self._engine.asked.append({"ids": prompt, "settings": settings})
        return self._engine.say(" and so on")

    def close(self) -> None:
        self.closed = True

    def answer(self, asked: dict[str, Any]) -> Generator[ChatEvent, None, None]:
        self._engine.asked.append(asked)
        self._engine.adapters_asked.append(self.adapter)
        return self._engine.say(asked["text"])


class ScriptedChat:
    """A chat that is asked one thing."""

    can_think = True

    def __init__(
        self,
        model: ScriptedModel,
        system: str | None,
        messages: list[dict[str, Any]],
        settings: dict[str, Any],
    ) -> None:
        self._model, self.system, self.messages, self._settings = model, system, messages, settings
        self.enable_thinking: bool | None = settings.get("enable_thinking")
        self.options = GenerationOptions()

    def replace(self, messages: Iterable[Mapping[str, Any]]) -> None:
        self.messages = [dict(message) for message in messages]

    def events(self, text: str | None = None, **settings: Any) -> Generator[ChatEvent, None, None]:
        settings = {**self._settings, **settings}
        asked = {"text": text, "system": self.system, "messages": self.messages, "settings": settings}
        return self._model.answer(asked)

    def tool_events(self, text: str, **settings: Any) -> Generator[ChatEvent, None, None]:
        return self.events(text, **settings)


class ScriptedEngine:
    """Stands where `edgelm.api.load` stands.

    Attributes:
        gate: while it is closed, an answer waits before each piece.
        asked: every question, with its settings.
        adapters_asked: the adapter that acted at each question of a chat.
        script: prompt → what to answer, as text or as events.
    """

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.loading = threading.Event()
        self.loading.set()
        self.models: list[ScriptedModel] = []
        self.asked: list[dict[str, Any]] = []
        self.adapters_asked: list[str | None] = []
        self.script: dict[str, str | list[ChatEvent | Exception]] = {}
        self.steps = 0
        self.pace_s = 0.05

    def load(self, name: str, adapter: str | None = None) -> ScriptedModel:
        self.loading.wait(10)
        if name == "missing":
            raise NotFoundError("no model 'missing'", hint="did you mean tiny?")
        if name == "huge":
            raise FitError("huge needs 99 GB, 8 GB are free")
        self.models.append(ScriptedModel(name, self, adapter))
        return self.models[-1]

    def say(self, text: str) -> Generator[ChatEvent, None, None]:
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
