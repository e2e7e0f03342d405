"""Text generation: the engine's tokens through the decoder, the segments and the stop strings.

Runs on the engine's thread. Stop strings are looked for in the answer only: a thinking block or a tool call
may contain them. Knows nothing about conversations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Self

from edgelm.errors import EngineError, FormatError, OptionError
from edgelm.options import Options, check_names, option
from edgelm.runtime.constraints.constraint import MakeConstraint
from edgelm.runtime.constraints.grammar import Grammar, grammar_of
from edgelm.runtime.constraints.make import constraint_maker
from edgelm.runtime.engine import Engine
from edgelm.runtime.events import ChatEvent, Finished, FinishReason, Text, Token, Usage
from edgelm.runtime.requests import Cancel, Request
from edgelm.runtime.sampling import Sampling
from edgelm.text.pieces import Pieces
from edgelm.text.segments import Segment, Segmenter, ToolCall
from edgelm.text.stops import StopMatcher, as_stops

DEFAULT_MAX_TOKENS = 1024
"""Of an answer where nobody says otherwise: some 700 words. mlx-lm stops at 256 (100 on its command line), transformers at 20;
llama.cpp and Ollama go on until the context is full, which a model that does not find an end always does."""
THINKING_MAX_TOKENS = 8192
"""The same of a model that thinks before it answers, and thinks in the same tokens."""


@dataclass(frozen=True)
class GenerationOptions(Options):
    """How a reply is made.

    Raises:
        OptionError: a setting outside what it may be.
    """

    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int | None = option(
        DEFAULT_MAX_TOKENS, "stop after so many tokens; None is until the context is full", ge=1
    )
    logprobs: int | None = option(
        None, "report log-probabilities, and so many alternatives for each token", ge=0, le=20
    )
    speculation: bool = option(
        True, "guess ahead where that is faster; the text is the same, on Metal up to rounding"
    )
    stop: tuple[str, ...] = ()
    """Strings that end the reply and are not part of it; one string or several may be given."""
    enable_thinking: bool | None = option(
        None, "let the model think before it answers, or not; None is the model's default"
    )
    grammar: Grammar | None = None
    """What the answer must match: see `changed` for how to name it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.grammar, Grammar | None):
            raise OptionError(f"grammar is {self.grammar!r}, expected Grammar")
        if not isinstance(self.sampling, Sampling):
            raise OptionError(f"sampling is {self.sampling!r}, expected Sampling")
        object.__setattr__(self, "stop", as_stops(self.stop))

    def changed(self, **settings: Any) -> Self:
        """A copy with some settings changed; those of `Sampling` may be named directly.

        `greedy=True` takes the likeliest token, without the penalties that were set before. The answer's form is one of
        `schema` (a JSON Schema or a Pydantic model class), `regex` and `grammar`
        (in Lark's syntax, or a `Grammar`); None takes it off.

        Raises:
            OptionError: a setting that does not exist, or outside what it may be.
            UnsupportedError: a schema with a keyword that cannot be enforced.
        """
        greedy = settings.pop("greedy", False)
        forms = {name: settings.pop(name) for name in ("schema", "regex", "grammar") if name in settings}
        if forms:
            settings["grammar"] = grammar_of(**forms)
        own = {item.name for item in dataclasses.fields(self)}
        sampling = {item.name for item in dataclasses.fields(Sampling)}
        check_names(settings, {*own, *sampling, "schema", "regex", "greedy"})
        drawn = {name: value for name, value in settings.items() if name in sampling}
        rest = {name: value for name, value in settings.items() if name in own}
        if drawn or greedy is not False:
            base = rest.get("sampling", self.sampling)
            rest["sampling"] = (
                dataclasses.replace(base, **drawn) if greedy is False else _likeliest(greedy, base, drawn)
            )
        return dataclasses.replace(self, **rest)


def _likeliest(greedy: Any, base: Any, drawn: dict[str, Any]) -> Sampling:
    """Greedy sampling, with what of `drawn` is said beside it."""
    if greedy is not True:
        raise OptionError(f"greedy is {greedy!r}, expected bool")
    sampling = Sampling(**{"logit_bias": base.logit_bias, "seed": base.seed, **drawn})
    if not sampling.is_greedy:
        raise OptionError(f"greedy and temperature {sampling.temperature:g} are given, expected one of them")
    return sampling


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished reply."""

    text: str
    reason: FinishReason
    usage: Usage
    matched: str | int | None = None
    """The stop string or stop token that ended it, if one did."""
    tokens: tuple[int, ...] = ()
    """The ids sampled, a final stop token excluded."""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[Token, ...] = ()
    """One for each of `tokens`, where log-probabilities were asked for."""
    grammar: Grammar | None = None
    """What the answer was held to."""

    @property
    def parsed(self) -> Any:
        """The answer as data: what its schema describes, an instance if the schema was a Pydantic model.

        Raises:
            FormatError: the reply was cut off before it was complete.
            OptionError: the reply was not asked for by a schema.
        """
        if self.grammar is None or self.grammar.kind != "schema":
            raise OptionError("the reply has no schema to be parsed by", hint="ask with schema=…")
        if self.reason != "stop" or isinstance(self.matched, str):
            why = {"length": "at the token limit", "stop": f"by the stop string {self.matched!r}"}
            raise FormatError(
                f"the reply was cut off {why.get(self.reason, 'by its reader')}, before its JSON was complete",
                hint="raise max_tokens, or bound the schema with maxLength and maxItems",
            )
        return self.grammar.parse(self.text)


class Collector:
    """Gathers the events of one generation, whose answer was held to `grammar`."""

    def __init__(self, grammar: Grammar | None = None) -> None:
        self._grammar = grammar
        self._pieces: dict[str, list[str]] = {"answer": [], "thinking": [], "tool_call": []}
        self._tokens: list[Token] = []
        self.tool_calls: list[ToolCall] = []
        self.finished: Finished | None = None

    def add(self, event: ChatEvent) -> None:
        """Take note of `event`."""
        match event:
            case Text(text, channel):
                self._pieces[channel].append(text)
            case Token():
                self._tokens.append(event)
            case ToolCall():
                self.tool_calls.append(event)
            case Finished():
                self.finished = event

    def text(self, channel: str = "answer") -> str:
        """What has come in one channel so far."""
        return "".join(self._pieces[channel])

    def completion(self) -> Completion:
        """The whole.

        Raises:
            EngineError: the generation has not finished.
        """
        if self.finished is None:
            raise EngineError("the generation ended without a result")
        return Completion(
            text=self.text(),
            reason=self.finished.reason,
            usage=self.finished.usage,
            matched=self.finished.matched,
            tokens=self.finished.tokens,
            thinking=self.text("thinking"),
            tool_calls=tuple(self.tool_calls),
            logprobs=tuple(self._tokens),
            grammar=self._grammar,
        )


def collect(events: Iterable[ChatEvent], grammar: Grammar | None = None) -> Completion:
    """Wait for a generation to end, whose answer was held to `grammar`."""
    collector = Collector(grammar)
    for event in events:
        collector.add(event)
    return collector.completion()


def generate_text(
    engine: Engine,
    tokenizer: Any,
    prompt: Sequence[int],
    options: GenerationOptions,
    cancel: Cancel,
    *,
    stop_tokens: frozenset[int] = frozenset(),
    tools: Sequence[Mapping[str, Any]] | None = None,
) -> Generator[ChatEvent, None, None]:
    """Continue `prompt` and yield `Prefill`s, `Text`s, `ToolCall`s and one `Finished`.

    Args:
        tokenizer: mlx-lm's TokenizerWrapper, for decoding and for its thinking and tool-call markers.
        stop_tokens: ids that end the reply, usually the model's own.
        tools: JSON schemas of callable functions, for the parsers that use them.

    Raises:
        PromptError, OptionError, EngineError: as `Engine.generate`.
        UnsupportedError: a grammar for a tokenizer that cannot be constrained.
    """
    writer = _Writer(tokenizer, prompt, options, tools)
    request = Request(
        prompt,
        sampling=options.sampling,
        max_tokens=options.max_tokens,
        stop_tokens=stop_tokens,
        logprobs=options.logprobs,
        speculation=options.speculation,
        constraint=_constraint(tokenizer, prompt, options, stop_tokens),
    )
    pieces = None if options.logprobs is None else Pieces(tokenizer)
    with closing(engine.generate(request, _Either(cancel, writer))) as events:
        for event in events:
            match event:
                case Token(id=token):
                    if pieces is not None:
                        yield _spelled(event, pieces)
                    yield from writer.add(token)
                case Finished():
                    yield from writer.finish()
                    yield writer.conclude(event)
                case _:
                    yield event


def _constraint(
    tokenizer: Any, prompt: Sequence[int], options: GenerationOptions, stop_tokens: frozenset[int]
) -> MakeConstraint | None:
    if options.grammar is None:
        return None
    may_think = options.enable_thinking is not False
    return constraint_maker(options.grammar, tokenizer, prompt, stop_tokens, may_think=may_think)


class _Writer:
    """Turns tokens into the events of a reply, up to a stop string."""

    def __init__(
        self,
        tokenizer: Any,
        prompt: Sequence[int],
        options: GenerationOptions,
        tools: Sequence[Mapping[str, Any]] | None,
    ) -> None:
        self._segmenter = Segmenter(tokenizer, prompt, tools, plain_answer=options.grammar is not None)
        self._stops = StopMatcher(options.stop)

    @property
    def is_done(self) -> bool:
        """Whether a stop string has come."""
        return self._stops.matched is not None

    def add(self, token: int) -> Iterator[Text | ToolCall]:
        yield from self._pass(self._segmenter.add(token))

    def finish(self) -> Iterator[Text | ToolCall]:
        yield from self._pass(self._segmenter.finish())
        yield from self._release()

    def conclude(self, finished: Finished) -> Finished:
        """The engine's account, with the stop string where one ended the reply."""
        if not self.is_done:
            return finished
        return dataclasses.replace(finished, reason="stop", matched=self._stops.matched)

    def _pass(self, items: Iterable[Segment | ToolCall]) -> Iterator[Text | ToolCall]:
        for item in items:
            if self.is_done:
                return
            if isinstance(item, Segment) and item.channel == "answer":
                yield from _text(self._stops.add(item.text))
            else:
                yield from self._release()  # the answer ends here
                yield Text(item.text, item.channel) if isinstance(item, Segment) else item

    def _release(self) -> Iterator[Text]:
        yield from _text(self._stops.finish())


def _spelled(token: Token, pieces: Pieces) -> Token:
    """A token with its text and that of its alternatives."""
    others = tuple(dataclasses.replace(other, text=pieces.of(other.token)) for other in token.alternatives)
    return dataclasses.replace(token, text=pieces.of(token.id), alternatives=others)


def _text(text: str) -> Iterator[Text]:
    if text:
        yield Text(text)


@dataclass(frozen=True, slots=True)
class _Either:
    """Set when the caller cancels or the reply has met a stop string."""

    cancel: Cancel
    writer: _Writer

    def is_set(self) -> bool:
        return self.writer.is_done or self.cancel.is_set()
