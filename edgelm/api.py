"""The Python API: load a model, generate, chat.

    with edgelm.load("smollm2-135m-instruct-4bit") as model:
        print(model.generate("The capital of France is", max_tokens=20).text)
        chat = model.chat(system="Answer briefly.")
        for piece in chat.stream("Why is the sky blue?"):
            print(piece, end="")

MLX runs on a thread of the model's own, so a model may be used from any thread, one reply at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm.errors import NotFoundError
from edgelm.model import hub, library
from edgelm.model.adapters.files import AdapterUse, check_base, find_adapter, parse_use, read_adapter
from edgelm.model.load import LoadedModel
from edgelm.model.load import load as load_directory
from edgelm.progress import OnProgress, ignore_progress
from edgelm.runtime.chat import Chat
from edgelm.runtime.engine import Engine
from edgelm.runtime.events import ChatEvent, Text
from edgelm.runtime.generation import Completion, GenerationOptions, collect, generate_text
from edgelm.runtime.worker import EngineThread
from edgelm.text.prompt import encode_text
from edgelm.tune.api import TuneResult, tune


@dataclass(frozen=True)
class _Ready:
    """What lives on the engine thread."""

    loaded: LoadedModel
    engine: Engine


class Model:
    """A loaded model. Close it, or use it in a `with` block, to give its memory back."""

    def __init__(
        self,
        directory: Path,
        *,
        adapter: Path | Sequence[AdapterUse] | None,
        dtype: str | None,
        check_fit: bool,
    ) -> None:
        def set_up() -> _Ready:
            loaded = load_directory(directory, adapter=adapter, dtype=dtype, check_fit=check_fit)
            engine = Engine(
                loaded.network, vocab_size=loaded.vocab_size, context_length=loaded.context_length
            )
            return _Ready(loaded, engine)

        self._thread: EngineThread[_Ready] = EngineThread(set_up)
        loaded = self._thread.call(lambda ready: ready.loaded)
        # Plain values and the tokenizer, which holds no arrays; the network stays on its thread.
        self.tokenizer = loaded.tokenizer
        self.name = loaded.name
        self.directory = loaded.directory
        self.config = loaded.config
        self.context_length = loaded.context_length
        self.size_bytes = loaded.size_bytes
        self.dtype = loaded.dtype
        self._stop_tokens = loaded.stop_tokens

    def generate(self, prompt: str | Sequence[int], **settings: Any) -> Completion:
        """Continue `prompt` and wait for the whole. For settings and errors see `events`."""
        return collect(self.events(prompt, **settings))

    def stream(self, prompt: str | Sequence[int], **settings: Any) -> Generator[str, None, None]:
        """Continue `prompt`, yielding text piece by piece; the pieces joined are the whole text."""
        with closing(self.events(prompt, **settings)) as events:
            for event in events:
                if isinstance(event, Text):
                    yield event.text

    def events(self, prompt: str | Sequence[int], **settings: Any) -> Generator[ChatEvent, None, None]:
        """Continue `prompt`, yielding everything that happens. Leaving early stops the model.

        Args:
            prompt: text, or token ids.
            settings: fields of `GenerationOptions` (max_tokens, stop, logprobs) and of `Sampling`
                (temperature, top_p, top_k, min_p, seed, …).

        Raises:
            PromptError: the prompt is empty, longer than the context, or holds ids out of range.
            OptionError: a setting outside what it may be.
            EngineError: the model is closed, or MLX failed.
        """
        options = GenerationOptions().changed(**settings)
        ids = encode_text(self.tokenizer, prompt) if isinstance(prompt, str) else list(prompt)
        return self._run(ids, options)

    def chat(
        self,
        *,
        system: str | None = None,
        messages: Iterable[Mapping[str, Any]] = (),
        enable_thinking: bool | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **settings: Any,
    ) -> Chat:
        """Begin a conversation, or go on from `messages`; `settings` are the defaults of its replies."""
        return Chat(
            lambda ids, options: self._run(ids, options, tools),
            self.tokenizer,
            system=system,
            options=GenerationOptions().changed(**settings),
            enable_thinking=enable_thinking,
            tools=tools,
            messages=messages,
        )

    @property
    def adapters(self) -> dict[str, float]:
        """The weight of each adapter on the model by name; 0 is off."""
        return self._thread.call(lambda ready: ready.loaded.adapters.weights)

    def add_adapter(self, adapter: str | Path, weight: float = 1.0) -> str:
        """Put one more adapter on the model, a name of the library of adapters or a path; returns its name.

        Raises:
            NotFoundError, FormatError, UnsupportedError: there is none, it does not fit, or has another base.
        """

        def work(ready: _Ready) -> str:
            found = read_adapter(find_adapter(str(adapter)))
            check_base(found, self.directory)
            name = ready.loaded.adapters.add(found, weight=weight)
            ready.engine.reset()
            return name

        return self._thread.call(work)

    def set_adapter(self, name: str, weight: float) -> None:
        """Let an adapter act with another weight from the next reply on; 0 turns it off, and nothing is loaded again.

        Raises:
            NotFoundError: there is none of that name.
            OptionError: a weight that is not a finite number.
        """

        def work(ready: _Ready) -> None:
            ready.loaded.adapters.set(name, weight)
            ready.engine.reset()  # what is in the KV cache was computed with the old weights

        self._thread.call(work)

    def tune(self, data: str | Path, **settings: Any) -> TuneResult:
        """Tune this model's weights on `data`, and put the resulting adapter on the model, ready to talk to.

        The run loads the model a second time. For settings and errors see `edgelm.tune.api.tune`.
        """
        result = tune(self.directory, data, **settings)
        self.add_adapter(result.adapter)
        return result

    def close(self) -> None:
        """Stop what runs and give the memory back; again is a no-op."""
        self._thread.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Model {self.name} {self.dtype}>"

    def _run(
        self, ids: Sequence[int], options: GenerationOptions, tools: Sequence[Mapping[str, Any]] | None = None
    ) -> Generator[ChatEvent, None, None]:
        stop_tokens = self._stop_tokens

        def work(ready: _Ready, cancel: threading.Event) -> Generator[ChatEvent, None, None]:
            tokenizer = ready.loaded.tokenizer
            return generate_text(
                ready.engine, tokenizer, ids, options, cancel, stop_tokens=stop_tokens, tools=tools
            )

        return self._thread.submit(work).events()


def load(
    model: str | Path,
    *,
    adapter: str | Path | Sequence[str | Path] | None = None,
    dtype: str | None = None,
    check_fit: bool = True,
    on_progress: OnProgress = ignore_progress,
) -> Model:
    """Load a model, ready to generate.

    Args:
        model: a name from the library, a path, or a Hub id (which is pulled into the library first).
        adapter: a name from the library of adapters, or a directory of mlx-lm adapters; with `=WEIGHT` how strongly it
            acts; or several of them.
        dtype: "float16", "bfloat16" or "float32" for the unquantized parameters; None is the
            machine's best (float32 and dequantized on a CPU).
        check_fit: refuse a model that would not fit in memory.
        on_progress: called while a Hub id is downloaded.

    Raises:
        NotFoundError, FormatError, UnsafeError, UnsupportedError, NetworkError: about the model.
        FitError: it would not fit.
    """
    directory = _find(str(model), on_progress)
    said = [adapter] if isinstance(adapter, str | Path) else adapter or ()
    uses = [parse_use(str(text)) for text in said]
    return Model(directory, adapter=uses, dtype=dtype, check_fit=check_fit)


def _find(model: str, on_progress: OnProgress) -> Path:
    try:
        return library.resolve(model)
    except NotFoundError:
        if Path(model).expanduser().exists() or not hub.looks_like_hub_id(model):
            raise
    return library.pull(model, on_progress=on_progress).directory
