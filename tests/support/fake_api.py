"""A stand-in for `edgelm.api` with a scripted model: no MLX, no weights, answers at a known pace.

`install()` puts it in place of the real module; subprocesses run this file as a script: `fake_api.py ARGS…`
is `edgelm ARGS…` with the fake behind it. FAKE_DELAY_S is the pause before each piece of an answer, FAKE_LOAD_S is what
loading takes.
"""

from __future__ import annotations

import os
import sys
import time
import types
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripted_engine import ScriptedTokenizer

from edgelm import paths
from edgelm.errors import FitError, NotFoundError, PromptError
from edgelm.progress import Progress
from edgelm.runtime.events import ChatEvent, Finished, Prefill, Text, Usage
from edgelm.runtime.generation.completion import Completion
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.runtime.generation.recommended import Recommended
from edgelm.runtime.many.results import BatchResult


def reply_to(prompt: str) -> list[ChatEvent]:
    """What the model says: it repeats the prompt, word by word."""
    if prompt == "think":
        return [Text("hm", "thinking"), Text("so", "answer")]
    return [Text(f"{word} ") for word in ["You", "said:", *prompt.split()]]


class FakeChat:
    """Keeps messages as the real chat does: a reply that was cut short stays, as far as it went."""

    def __init__(
        self, system: str | None, pace: Callable[[], None], messages: Iterable[Mapping[str, Any]] = ()
    ) -> None:
        self.system = system
        self.enable_thinking: bool | None = None
        self.can_think = True
        self.tools: list[Any] = []
        self.messages: list[dict[str, Any]] = [dict(message) for message in messages]
        self.asked: list[dict[str, Any]] = []
        self.options = GenerationOptions()
        self._pace = pace

    def replace(self, messages: Iterable[Mapping[str, Any]]) -> None:
        self.messages = [dict(message) for message in messages]

    def events(self, text: str, **settings: Any) -> Generator[ChatEvent, None, None]:
        self.asked.append(settings)
        if text == "too long":
            raise PromptError("the prompt has 9 tokens, expected at most 8", hint="say less")
        self.messages.append({"role": "user", "content": text})
        said = ""
        yield Prefill(10, 10, 4)
        pieces = reply_to(text)
        try:
            for piece in pieces:
                self._pace()
                said += piece.text if isinstance(piece, Text) and piece.channel == "answer" else ""
                yield piece
        finally:
            self.messages.append({"role": "assistant", "content": said})
        yield Finished("stop", Usage(10, 4, len(pieces), 0.1, 0.2, 1.0, 0))

    def tool_events(self, text: str, **settings: Any) -> Generator[ChatEvent, None, None]:
        yield from self.events(text, **settings)


class FakeModel:
    """One model; `chats` are those that were begun."""

    def __init__(self, name: str, pace: Callable[[], None]) -> None:
        self.name = name
        self.context_length: int | None = 8192
        self.directory: Path | None = None
        self.size_bytes: int | None = None
        self.defaults = GenerationOptions()
        self.recommended = Recommended()
        self.adapters: dict[str, float] = {}
        self.tokenizer = ScriptedTokenizer()
        self.chats: list[FakeChat] = []
        self.closed = False
        self._pace = pace

    def chat(
        self,
        *,
        system: str | None = None,
        enable_thinking: bool | None = None,
        tools: Iterable[Any] | None = None,
        messages: Iterable[Mapping[str, Any]] = (),
        **settings: Any,
    ) -> FakeChat:
        chat = FakeChat(system, self._pace, messages)
        chat.enable_thinking, chat.tools = enable_thinking, list(tools or ())
        self.chats.append(chat)
        return chat

    def generate_many(
        self, prompts: list[dict[str, Any]], *, rows: int | None, on_progress: Any, **settings: Any
    ) -> Iterator[BatchResult]:
        self.asked = [settings, *prompts]
        for index, prompt in enumerate(prompts):
            self._pace()
            text = prompt["prompt"] if "prompt" in prompt else prompt["messages"][-1]["content"]
            on_progress(Progress("Answering", index, len(prompts), "prompts"))
            if text == "fail" and not Path("repaired").exists():
                yield BatchResult(index, error=PromptError("the prompt is bad", hint="say less"))
            else:
                usage = Usage(10, 4, 3, 0.1, 0.2, 1.0, 0)
                yield BatchResult(index, Completion(f"You said: {text}", "stop", usage))

    def events(self, prompt: str | Sequence[int], **settings: Any) -> Generator[ChatEvent, None, None]:
        self.asked = [settings, prompt]
        yield Text("and so on")
        yield Finished("stop", Usage(10, 4, 1, 0.1, 0.2, 1.0, 0))

    def add_adapter(self, adapter: str, weight: float = 1.0) -> str:
        name = adapter.rpartition("/")[2]
        self.adapters[name] = weight
        return name

    def set_adapter(self, name: str, weight: float) -> None:
        self.adapters[name] = weight

    def stop(self) -> None:
        """Answers end when their reader leaves."""

    def close(self) -> None:
        self.closed = True


class FakeApi(types.ModuleType):
    """The module: `load`, and what it loaded."""

    def __init__(self, pace: Callable[[], None] = lambda: None, load_s: float = 0.0) -> None:
        super().__init__("edgelm.api")
        self.pace = pace
        self.load_s = load_s
        self.models: list[FakeModel] = []
        self.loads: list[dict[str, Any]] = []

    def find_model(self, name: str, on_progress: Any) -> Path:
        """A directory that can be told from another model's."""
        if name == "missing":
            raise NotFoundError("no model 'missing'", hint="did you mean tiny?")
        directory = paths.models() / name
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "config.json").write_text("{}")
        (directory / "model.safetensors").write_text(name)
        return directory

    def load(self, model: str | Path, **settings: Any) -> FakeModel:
        name = model.name if isinstance(model, Path) else model
        if name == "missing":
            raise NotFoundError("no model 'missing'", hint="did you mean tiny?")
        if name == "huge":
            raise FitError("huge needs 99 GB, 8 GB are free")
        time.sleep(self.load_s)
        self.loads.append({"name": name, **settings})
        self.models.append(FakeModel(name, self.pace))
        return self.models[-1]


if __name__ == "__main__":
    delay_s = float(os.environ.get("FAKE_DELAY_S", "0"))
    load_s = float(os.environ.get("FAKE_LOAD_S", "0"))
    sys.modules["edgelm.api"] = FakeApi(lambda: time.sleep(delay_s), load_s)
    from edgelm.cli.main import run

    run()
