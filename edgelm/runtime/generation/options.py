"""The settings of one reply, validated when built: how it is sampled, how long it may be, what ends it, its form."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Self

from edgelm.adapters.use import AdapterUse
from edgelm.errors import OptionError
from edgelm.options import Options, check_names, option
from edgelm.runtime.arguments import several_names
from edgelm.runtime.constraints.grammar import Grammar, grammar_of
from edgelm.runtime.sampling.settings import Sampling
from edgelm.text.stops import as_stops

DEFAULT_MAX_TOKENS = 1024
"""The most tokens of an answer where nobody says otherwise: some 700 words. mlx-lm stops at 256 (100 on its command
line), transformers at 20; llama.cpp and Ollama go on until the context is full, which a model that finds no end always does."""
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
    thinking_budget: int | None = option(
        None, "end the thinking after so many tokens, where it is told apart; None is without a bound", ge=1
    )
    best_of: int = option(
        1, "answers to draw from one computation of the prompt, of which the best is kept", ge=1, le=64
    )
    judge_by: tuple[str, ...] = ()
    """What tells the best of them: rewards, as `model:NAME` or `length:10-60`; one or several, which are added up."""
    grammar: Grammar | None = None
    """What the answer must match: see `changed` for how to name it."""
    adapters: tuple[AdapterUse, ...] | None = None
    """The adapters that act, and no others, see `changed`; None is as the model is set, none at all is its base."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.grammar, Grammar | None):
            raise OptionError(f"grammar is {self.grammar!r}, expected Grammar")
        if not isinstance(self.sampling, Sampling):
            raise OptionError(f"sampling is {self.sampling!r}, expected Sampling")
        if self.adapters is not None and not all(isinstance(use, AdapterUse) for use in self.adapters):
            raise OptionError(
                f"adapters is {self.adapters!r}, expected uses of adapters", hint="say adapter=NAME"
            )
        object.__setattr__(self, "stop", as_stops(self.stop))
        object.__setattr__(self, "judge_by", _judges(self.judge_by, self.best_of))

    def changed(self, **settings: Any) -> Self:
        """Return a copy with some settings changed; those of `Sampling` may be named directly.

        `greedy=True` takes the likeliest token, without the penalties that were set before. The answer's form is one of
        `schema` (a JSON Schema or a Pydantic model class), `regex` and `grammar`
        (in Lark's syntax, or a `Grammar`); None takes it off. `adapter` is a name of the library of adapters, or a directory,
        with `=WEIGHT` how strongly it acts; or several.

        Raises:
            OptionError: a setting that does not exist, or outside what it may be.
            UnsupportedError: a schema with a keyword that cannot be enforced.
            NotFoundError: no such adapter.
        """
        if "adapter" in settings:
            settings["adapters"] = _uses(settings.pop("adapter"))
        greedy = settings.pop("greedy", False)
        forms = {name: settings.pop(name) for name in ("schema", "regex", "grammar") if name in settings}
        if forms:
            settings["grammar"] = grammar_of(**forms)
        own = {item.name for item in dataclasses.fields(self)}
        sampling = {item.name for item in dataclasses.fields(Sampling)}
        check_names(settings, {*own, *sampling, "schema", "regex", "greedy", "adapter"})
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


def _judges(said: Any, best_of: int) -> tuple[str, ...]:
    """Read what answers are judged by, which goes with several answers alone."""
    judges = (said,) if isinstance(said, str) else tuple(said) if isinstance(said, list | tuple) else None
    if judges is None or not all(isinstance(judge, str) and judge for judge in judges):
        raise OptionError(
            f"judge_by is {said!r}, expected a reward such as model:NAME or length:10-60",
            settings=("judge_by",),
        )
    if (best_of > 1) != bool(judges):
        raise OptionError(
            f"best_of is {best_of} and judge_by is {', '.join(judges) or 'not given'}, expected both or neither",
            hint="model:NAME is a reward model, length:10-60 a rule",
            settings=("best_of", "judge_by"),
        )
    return judges


def _uses(said: Any) -> tuple[AdapterUse, ...] | None:
    """The adapters that a caller means."""
    from edgelm.adapters.find import parse_use  # with MLX

    return None if said is None else tuple(parse_use(str(name)) for name in several_names("adapter", said))
