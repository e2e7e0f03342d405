"""The Python API: load a model, generate, chat.

    with edgelm.load("smollm2-135m-instruct-4bit") as model:
        print(model.generate("The capital of France is", max_tokens=20).text)
        chat = model.chat(system="Answer briefly.")
        for piece in chat.stream("Why is the sky blue?"):
            print(piece, end="")

MLX runs on a thread of the model's own, so a model may be used from any thread; replies that are asked for
meanwhile join those under way.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Generator, Iterable, Mapping, Sequence
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any, Unpack

from edgelm.adapters.base import check_base
from edgelm.adapters.files import read_adapter, read_adapter_config
from edgelm.adapters.find import check_uses, find_adapter, parse_use
from edgelm.library import models as library
from edgelm.options import check_callable, check_type
from edgelm.progress import OnProgress, ignore_progress
from edgelm.runtime.arguments import check_dtype, check_flags, check_name, check_weight, several_names
from edgelm.runtime.assemble import AnswersWork, Ready, ReplyWork, RuntimeOptions, assemble, release
from edgelm.runtime.chat.chat import Chat
from edgelm.runtime.chat.file import options_of, read_chat
from edgelm.runtime.events import ChatEvent, Text
from edgelm.runtime.generation.answers import Numbered
from edgelm.runtime.generation.completion import Collector, Completion, collect
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.runtime.generation.recommended import default_options, recommended
from edgelm.runtime.generation.typed import GenerationSettings, ReplySettings
from edgelm.runtime.job import Job
from edgelm.runtime.many.foreign import without_foreign
from edgelm.runtime.many.options import BatchOptions
from edgelm.runtime.many.prompts import AnyPrompt, read_prompts, token_ids
from edgelm.runtime.many.results import BatchResult
from edgelm.runtime.worker import EngineThread
from edgelm.text.prompt import encode_text, require_tool_support
from edgelm.text.tools.tool import as_tools
from edgelm.tune.api import TuneResult, tune
from edgelm.tune.reward_model.best_of import BestOf, refuse_several
from edgelm.tune.reward_model.many import batch_results
from edgelm.tune.typed import TuneArguments
from edgelm.zoo.caches.settings import CacheSettings


class Model:
    """A loaded model. Close it, use it in a `with` block, or let go of it, to give its memory back.

    Attributes:
        name: the name of its directory.
        context_length: tokens of prompt and answer together; None is unknown.
        size_bytes: the size of its weights in memory.
        dtype: the type of its unquantized parameters.
        recommended: what its files recommend for sampling.
        defaults: how its answers are made where nothing else is said: as recommended, else greedy; at most 1,024 tokens, or
            8,192 of a model that thinks.
    """

    def __init__(self, directory: Path, options: RuntimeOptions) -> None:
        stop = threading.Event()
        self._thread: EngineThread[Ready] = EngineThread(
            lambda: assemble(directory, options, stop), teardown=release, step=Ready.step, stop=stop
        )
        loaded = self._thread.call(lambda ready: ready.loaded)
        # Plain values and the tokenizer, which holds no arrays; the network stays on its thread.
        self.tokenizer = loaded.tokenizer
        self.name = loaded.name
        self.directory = loaded.directory
        self.config = loaded.config
        self.context_length = loaded.context_length
        self.size_bytes = loaded.size_bytes
        self.dtype = loaded.dtype
        self.recommended = recommended(self.directory)
        self.defaults = default_options(self.recommended, thinks=bool(self.tokenizer.has_thinking))

    def generate(self, prompt: str | Sequence[int], **settings: Unpack[GenerationSettings]) -> Completion:
        """Continue `prompt` and wait for the whole answer. For settings and errors see `events`."""
        options = self.defaults.changed(**settings)
        return collect(self._reply(prompt, options), options.grammar)

    def stream(
        self, prompt: str | Sequence[int], **settings: Unpack[GenerationSettings]
    ) -> Generator[str, None, None]:
        """Continue `prompt`, yielding text piece by piece; the pieces joined are the whole text."""
        with closing(self.events(prompt, **settings)) as events:
            for event in events:
                if isinstance(event, Text):
                    yield event.text

    def events(
        self, prompt: str | Sequence[int], **settings: Unpack[GenerationSettings]
    ) -> Generator[ChatEvent, None, None]:
        """Continue `prompt`, yielding everything that happens. Leaving early stops the model.

        Args:
            prompt: text, or token ids.
            settings: fields of `GenerationOptions` (max_tokens, stop, logprobs) and of `Sampling` (temperature, top_p, top_k,
                min_p, seed, …), over those of `defaults`; `greedy`; `schema`, `regex` or `grammar`, which the text
                must match as a whole; `adapter`, those that act on this answer alone.

        Raises:
            PromptError, OptionError: a prompt that is empty, too long or holds ids out of range; a setting out of bounds.
            UnsupportedError, NotFoundError: a schema that cannot be enforced; an adapter of another base, or none.
            EngineError: the model is closed, or MLX failed.
        """
        return self._reply(prompt, self.defaults.changed(**settings))

    def _reply(
        self, prompt: str | Sequence[int], options: GenerationOptions
    ) -> Generator[ChatEvent, None, None]:
        ids = self._ids(prompt)
        if options.best_of == 1:
            return self._run(ids, options)
        text = prompt if isinstance(prompt, str) else self.tokenizer.decode(ids)
        return BestOf(ids, text, options).events(self._thread, self.directory)

    def _ids(self, prompt: Any) -> list[int]:
        return encode_text(self.tokenizer, prompt) if isinstance(prompt, str) else token_ids(prompt)

    async def agenerate(
        self, prompt: str | Sequence[int], **settings: Unpack[GenerationSettings]
    ) -> Completion:
        """Do what `generate` does, in an event loop; cancelling the task stops the model."""
        options = self.defaults.changed(**settings)
        collector = Collector(options.grammar)
        async with aclosing(self.areply(self._ids(prompt), options)) as events:
            async for event in events:
                collector.add(event)
        return collector.completion()

    async def astream(
        self, prompt: str | Sequence[int], **settings: Unpack[GenerationSettings]
    ) -> AsyncGenerator[str, None]:
        """Do what `stream` does, in an event loop."""
        async with aclosing(self.aevents(prompt, **settings)) as events:
            async for event in events:
                if isinstance(event, Text):
                    yield event.text

    def aevents(
        self, prompt: str | Sequence[int], **settings: Unpack[GenerationSettings]
    ) -> AsyncGenerator[ChatEvent, None]:
        """Do what `events` does, in an event loop; cancelling the task, or `aclose`, stops the model."""
        return self.areply(self._ids(prompt), self.defaults.changed(**settings))

    def chat(
        self,
        *,
        system: str | None = None,
        messages: Iterable[Mapping[str, Any]] = (),
        enable_thinking: bool | None = None,
        tools: Iterable[Any] | None = None,
        **settings: Unpack[ReplySettings],
    ) -> Chat:
        """Begin a conversation, or go on from `messages`; `settings` are the defaults of its replies.

        Args:
            system: the system prompt.
            messages: earlier turns.
            enable_thinking: whether replies begin with thinking; None is the model's default.
            tools: functions the model may call: Python functions with type hints and docstrings, or JSON
                definitions. `Chat.run_tools` runs them; `Chat.send` only reports the calls.
            settings: as for `events`.

        Raises:
            UnsupportedError, OptionError: tools that the model's template does not know; a function that cannot be described.
        """
        return self._chat(self.defaults.changed(**settings), system, messages, enable_thinking, tools)

    def load_chat(
        self, path: str | Path, *, tools: Iterable[Any] | None = None, **settings: Unpack[GenerationSettings]
    ) -> Chat:
        """Go on with a conversation that `Chat.save` wrote: its system prompt, its turns and its settings.

        Args:
            path: the file; other JSON files with `messages` are read as well.
            tools: as for `chat`; functions are not saved.
            settings: over those of the file.

        Raises:
            NotFoundError, FormatError, OptionError: no such file; it holds no chat, or a setting that is none or out of bounds.
        """
        check_type("path", path, str, Path)
        saved = read_chat(path)
        return self._chat(
            options_of(saved, self.defaults, settings), saved.system, saved.messages, None, tools
        )

    def _chat(
        self,
        options: GenerationOptions,
        system: str | None,
        messages: Iterable[Mapping[str, Any]],
        enable_thinking: bool | None,
        tools: Iterable[Any] | None,
    ) -> Chat:
        known = as_tools(tools)
        if known:
            require_tool_support(self.tokenizer)
        definitions = [tool.definition for tool in known.values()]
        return Chat(
            lambda ids, options: self._run(ids, options, definitions),
            self.tokenizer,
            arun=lambda ids, options: self.areply(ids, options, definitions),
            best=lambda ids, options, said: BestOf(ids, said, options, definitions).events(
                self._thread, self.directory
            ),
            model=self.name,
            system=system,
            options=options,
            enable_thinking=enable_thinking,
            tools=known.values(),
            messages=messages,
        )

    def generate_many(
        self,
        prompts: Iterable[AnyPrompt],
        *,
        rows: int | None = None,
        on_progress: OnProgress = ignore_progress,
        **settings: Unpack[GenerationSettings],
    ) -> Generator[BatchResult, None, None]:
        """Continue many prompts at once, yielding each result when it is ready; `index` says of which prompt.

        A prompt that fails has its error in its result; the others go on. Leaving early stops the model.

        Args:
            prompts: text or token ids to continue, lists of messages to answer, or mappings with one of these
                under "prompt" or "messages" beside settings of their own.
            rows: at most so many at once; None is what the machine can take, up to 32.
            on_progress: called in the caller's thread, between results.
            settings: as in `events`, for the prompts that do not say otherwise.

        Raises:
            OptionError: a setting of all prompts outside what it may be.
            EngineError: the model is closed.
        """
        options = self.defaults.changed(**settings)
        most = BatchOptions(rows=rows).rows
        check_callable("on_progress", on_progress)
        tasks, failures = read_prompts(prompts, options)
        asked = without_foreign(tasks, failures, self.directory)
        return batch_results(self._thread, self.directory, self.tokenizer, *asked, most, on_progress)

    @property
    def stalled_s(self) -> float:
        """The seconds since a step of the replies under way last ended, for watchdogs; 0 where there are none."""
        return self._thread.stalled_s

    @property
    def adapters(self) -> dict[str, float]:
        """The weight of each adapter on the model by name; 0 is off."""
        return self._thread.call(lambda ready: ready.loaded.adapters.weights)

    def add_adapter(self, adapter: str | Path, weight: float = 1.0) -> str:
        """Put one more adapter on the model, a name of the library of adapters or a path; returns its name.

        That is its directory's name, or one like it where the adapter of another directory has that.

        Raises:
            NotFoundError, FormatError, UnsupportedError, OptionError: there is none, it does not fit, has another base or is
                on the model already; a weight that is not a finite number.
        """
        check_name("adapter", adapter)
        check_weight(weight)

        def work(ready: Ready) -> str:
            files = read_adapter(find_adapter(str(adapter)))
            check_base(files, self.directory)
            return ready.loaded.adapters.add(files, weight=weight)

        return self._thread.call(work)

    def set_adapter(self, name: str, weight: float) -> None:
        """Let an adapter, named by its name or its directory, act with another weight from the next reply on; 0 turns it off.

        Raises:
            NotFoundError, OptionError: there is none of that name or directory; a weight that is not a finite number.
        """
        check_type("name", name, str)
        check_weight(weight)
        self._thread.call(lambda ready: ready.loaded.adapters.set(name, weight))

    def tune(
        self, data: str | Path | Iterable[Mapping[str, Any]], **settings: Unpack[TuneArguments]
    ) -> TuneResult:
        """Tune this model's weights on `data`, a file or the rows themselves, and put the adapter on the model, ready to talk.

        The run loads the model a second time. For settings and errors see `edgelm.tune.api.tune`.
        """
        result = tune(self.directory, data, **settings)
        if read_adapter_config(result.adapter).task is None:  # a reward model writes no answers
            self.add_adapter(result.adapter)
        return result

    def stop(self) -> None:
        """End the replies under way, from any thread: at the next token, or after one layer of a chunk of a prompt."""
        self._thread.cancel()

    def close(self) -> None:
        """Stop what runs and give the memory back; closing twice does nothing."""
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
        # Begun by the first `next`, so that what nobody listens to is not computed; holds this model till its end.
        check_uses(options.adapters or (), self.directory)
        job: Job[ChatEvent] = self._thread.share(ReplyWork(ids, options, tools))
        yield from job.events()

    async def areply(
        self, ids: Sequence[int], options: GenerationOptions, tools: Sequence[Mapping[str, Any]] | None = None
    ) -> AsyncGenerator[ChatEvent, None]:
        """Do what `aevents` does, with settings that are built already; calls are read by the definitions of `tools`."""
        refuse_several(options, "an event loop")
        async with aclosing(self.areplies(AnswersWork(ids, options, tools))) as events:
            async for _, event in events:
                yield event

    def areplies(self, work: AnswersWork) -> AsyncGenerator[Numbered, None]:
        """Yield the events of several answers of one computation of the prompt, each with the number of its answer."""
        return work.aevents(self._thread, self.directory)


def load(
    model: str | Path,
    *,
    adapter: str | Path | Sequence[str | Path] | None = None,
    dtype: str | None = None,
    check_fit: bool = True,
    draft: str | Path | None = None,
    disk_cache: bool = False,
    kv_bits: int | None = None,
    kv_dtype: str | None = None,
    max_context: int | None = None,
    wire: bool = True,
    compile_steps: bool = False,
    on_progress: OnProgress = ignore_progress,
) -> Model:
    """Load a model, ready to generate.

    Args:
        model: a name from the library, a path, or a Hub id (which is pulled into the library first).
        adapter: a name from the library, or a directory of mlx-lm's; `=WEIGHT` says how strongly it acts; or several of them.
        dtype: "float16", "bfloat16" or "float32" for unquantized parameters; None is the machine's best (on a CPU: float32).
        check_fit: refuse a model, or later a prompt, that would not fit in memory.
        draft: a smaller model with the same vocabulary that guesses ahead; the text is the same.
        disk_cache: keep computed prompts on the disk, so that a chat reopens at once in another process.
        kv_bits, kv_dtype: 8 or 4 quantizes the KV cache of full attention; "float16" or "bfloat16" keeps it in that type.
        max_context: keep the first 4 and the last tokens in the cache, so many in all.
        wire: let macOS keep a model that nearly fills the memory from being paged out.
        compile_steps: compile the step that requests share, where a small network keeps its host busier than its device.
        on_progress: called while a Hub id is downloaded.

    Raises:
        NotFoundError, FormatError, UnsafeError, UnsupportedError, NetworkError: about the model.
        OptionError, FitError: a setting of the KV cache outside what it may be, or it would not fit.
    """
    adapters = several_names("adapter", adapter)
    check_name("model", model)
    check_name("draft", "none" if draft is None else draft)
    check_dtype(dtype)
    check_flags(check_fit=check_fit, disk_cache=disk_cache, wire=wire, compile_steps=compile_steps)
    check_callable("on_progress", on_progress)
    uses, directory = tuple(parse_use(str(text)) for text in adapters), find_model(str(model), on_progress)
    check_uses(uses, directory)
    options = RuntimeOptions(
        adapters=uses,
        dtype=dtype,
        check_fit=check_fit,
        cache=CacheSettings(kv_bits=kv_bits, kv_dtype=kv_dtype, max_context=max_context),
        draft=None if draft is None else find_model(str(draft), on_progress),
        disk_cache=disk_cache,
        wire=wire,
        compile_steps=compile_steps,
    )
    return Model(directory, options)


find_model = library.obtain
"""Return the directory of a model; a Hub id that is not in the library yet is pulled. For what is raised see `load`."""
