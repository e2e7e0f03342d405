"""What a training run was asked to do: settings that are checked before anything is loaded.

Everything here is plain, so that it can be stored with the run, compared, and read back to resume it.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgelm.errors import OptionError
from edgelm.options import Options, check_names, option
from edgelm.tune.objectives.settings import ObjectiveSettings

METHODS = ("lora", "rslora", "dora", "full")
OPTIMIZERS = ("adamw", "adafactor", "lion", "muon")
SCHEDULES = ("cosine", "linear", "constant")
PAUSE_REASONS = ("battery", "heat", "pressure")

DEFAULT_LEARNING_RATES = {"adamw": 2e-4, "adafactor": 2e-4, "lion": 5e-5, "muon": 2e-3}
"""For adapters; a full fine-tune takes a tenth."""

PREFERENCE_RATES = {"adapter": 5e-6, "full": 1e-6}
"""For losses of preferences, with AdamW: of adapters the rate in TRL's own DPO example, else the default of its trainers
(trl/scripts/dpo.py and DPOConfig of TRL 1.16). Other optimizers take them in the proportion of DEFAULT_LEARNING_RATES."""

_LAYERS = re.compile(r"-\d+|\d+(-\d+)?(,\d+(-\d+)?)*")


@dataclass(frozen=True)
class MethodSettings(Options):
    """What is trained.

    Raises:
        OptionError: a setting outside what it may be.
    """

    method: str = option("lora", "lora, rslora, dora, or full for every weight", choices=METHODS)
    rank: int = option(8, "rank of an adapter", ge=1, le=4096)
    alpha: float | None = option(
        None,
        "an adapter's output is multiplied by alpha / rank (rslora: alpha / sqrt(rank)); default twice the rank",
        gt=0,
    )
    dropout: float = option(0.0, "share of an adapter's inputs set to zero while training", ge=0, lt=1)
    targets: tuple[str, ...] = ("linear",)
    """Groups ("linear", "attention", "mlp", "embeddings", "head") or patterns such as `*.q_proj`."""
    layers: str | None = option(None, "which layers: -8 is the last 8, 0-3,10 are those; default all")
    ranks: tuple[tuple[str, int], ...] = ()
    """(pattern, rank) for modules that get another rank; the last that matches counts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.targets or not all(isinstance(target, str) and target for target in self.targets):
            raise OptionError(f"targets is {self.targets!r}, expected names or patterns of modules")
        if self.layers is not None and not _LAYERS.fullmatch(self.layers):
            raise OptionError(f"layers is {self.layers!r}, expected -8 (the last 8), or 0-3,10")
        for pattern, rank in self.ranks:
            if rank < 1:
                raise OptionError(f"the rank of {pattern} is {rank}, expected >= 1")

    def rank_of(self, path: str) -> int:
        """Return the rank of the adapter on the module at `path`."""
        ranks = [rank for pattern, rank in self.ranks if fnmatch.fnmatchcase(path, pattern)]
        return ranks[-1] if ranks else self.rank

    def scale_of(self, path: str) -> float:
        """Return what its output is multiplied by. rsLoRA: Kalajdzievski 2023 (arXiv:2312.03732)."""
        rank = self.rank_of(path)
        alpha = self.alpha if self.alpha is not None else 2.0 * self.rank
        return float(alpha / (rank**0.5 if self.method == "rslora" else rank))

    def chosen_layers(self, count: int) -> frozenset[int]:
        """Return the indices of the layers that `layers` means, in a network of `count`.

        Raises:
            OptionError: the network has no such layer.
        """
        if self.layers is None:
            return frozenset(range(count))
        if self.layers.startswith("-"):
            wanted = range(count - int(self.layers[1:]), count)
        else:
            wanted = [index for part in self.layers.split(",") for index in _span(part)]  # type: ignore[assignment]
        wrong = [index for index in wanted if not 0 <= index < count]
        if wrong or not wanted:
            raise OptionError(f"layers is {self.layers!r}, but the model has layers 0 to {count - 1}")
        return frozenset(wanted)


@dataclass(frozen=True)
class OptimizerSettings(Options):
    """How it is trained."""

    optimizer: str = option("adamw", "the update rule", choices=OPTIMIZERS)
    learning_rate: float | None = option(
        None, "at its highest; default depends on method, loss and optimizer", gt=0, le=1
    )
    weight_decay: float = option(0.0, "decoupled weight decay", ge=0, le=1)
    schedule: str = option("cosine", "how the learning rate falls after the warm-up", choices=SCHEDULES)
    warmup: float = option(0.03, "share of the steps in which the learning rate rises", ge=0, lt=1)
    clip: float = option(1.0, "largest norm of all gradients together; 0 is without limit", ge=0)


@dataclass(frozen=True)
class LoopSettings(Options):
    """How long it is trained, on what batches, and how it is watched."""

    epochs: float | None = option(None, "passes over the data (default 1)", gt=0)
    steps: int | None = option(None, "updates of the weights", ge=1)
    for_s: float | None = option(None, "seconds of training", gt=0)
    batch_tokens: int = option(2048, "positions of one batch, on each machine", ge=8)
    accumulate: int = option(
        1, "batches whose gradients are added up before the weights change", ge=1, le=4096
    )
    packing: bool = option(
        True, "put several rows behind each other, kept apart, where the architecture allows it"
    )
    grad_checkpoint: bool = option(False, "compute activations twice instead of keeping them")
    loss_chunk: int = option(128, "positions whose logits exist at once; 0 is all of them", ge=0)
    compiled: bool = option(True, "compile the step")
    seed: int = option(0, "of the order of rows, the adapter's first weights and dropout", ge=0, lt=1 << 63)
    validate_every: int | None = option(None, "steps between validations; default ten times a run", ge=1)
    patience: int | None = option(None, "stop after so many validations without a better loss", ge=1)
    checkpoint_every: int | None = option(
        None, "steps between checkpoints; default as often as validations", ge=1
    )
    keep: int = option(2, "checkpoints kept, beside the best", ge=1)
    pause_on: tuple[str, ...] = ()
    """Reasons to wait: "battery", "heat", "pressure"."""

    def __post_init__(self) -> None:
        super().__post_init__()
        lengths = {"epochs": self.epochs, "steps": self.steps, "for": self.for_s}
        given = [name for name, value in lengths.items() if value is not None]
        if len(given) > 1:
            raise OptionError(
                f"{' and '.join(given)} are given together, expected one of them",
                settings=given,
            )
        for reason in self.pause_on:
            if reason not in PAUSE_REASONS:
                raise OptionError(f"pause_on is {reason!r}, expected {', '.join(PAUSE_REASONS)}")


@dataclass(frozen=True)
class RolloutSettings(Options):
    """How many answers to how many prompts, how they are drawn, and what becomes of their rewards.

    Raises:
        OptionError: a setting outside what it may be.
    """

    group_size: int = option(8, "answers to each prompt, which are compared with each other", ge=2, le=1024)
    prompts_per_step: int = option(4, "prompts answered before the weights change", ge=1, le=4096)
    updates_per_round: int = option(1, "updates of the weights on the same answers", ge=1, le=64)
    temperature: float = option(1.0, "randomness of drawn answers", gt=0, le=100)
    top_p: float = option(
        1.0, "of drawn answers: keep the likeliest tokens that reach this probability", gt=0, le=1
    )
    top_k: int = option(0, "of drawn answers: keep this many tokens; 0 is off", ge=0)
    mask_overlong: bool = option(False, "do not train answers that were cut off at the longest")
    advantage_scale: str = option(
        "group",
        "what advantages are divided by: the standard deviation of rewards in their group, in the whole step, or nothing",
        choices=("group", "step", "none"),
    )
    reward: tuple[str, ...] = ()
    """What answers are worth: see `edgelm.rewards.registry`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(isinstance(each, str) and each for each in self.reward):
            raise OptionError(f"reward is {self.reward!r}, expected names of rewards", settings=("reward",))
        if self.top_k == 1:
            raise OptionError("top_k is 1, so that all answers of a group would be one", settings=("top_k",))


@dataclass(frozen=True)
class TuneSettings:
    """The settings of a run, by what they are about."""

    method: MethodSettings = dataclasses.field(default_factory=MethodSettings)
    optimizer: OptimizerSettings = dataclasses.field(default_factory=OptimizerSettings)
    objective: ObjectiveSettings = dataclasses.field(default_factory=ObjectiveSettings)
    loop: LoopSettings = dataclasses.field(default_factory=LoopSettings)
    rollouts: RolloutSettings = dataclasses.field(default_factory=RolloutSettings)

    def __post_init__(self) -> None:
        if self.objective.loss == "grpo":
            if self.loop.accumulate > 1:
                raise OptionError(
                    f"accumulate is {self.loop.accumulate}, but a step of grpo is as many answers as are drawn for it",
                    hint="prompts_per_step says how many",
                    settings=("accumulate",),
                )
        else:
            defaults = RolloutSettings()
            for item in dataclasses.fields(RolloutSettings):
                if getattr(self.rollouts, item.name) != getattr(defaults, item.name):
                    raise OptionError(
                        f"{item.name} is given, but the loss {self.objective.loss} draws no answers, only grpo",
                        settings=(item.name,),
                    )

    @property
    def learning_rate(self) -> float:
        """The highest learning rate."""
        if self.optimizer.learning_rate is not None:
            return self.optimizer.learning_rate
        rate, is_full = DEFAULT_LEARNING_RATES[self.optimizer.optimizer], self.method.method == "full"
        if self.objective.loss not in ("sft", "reward"):
            preferred = PREFERENCE_RATES["full" if is_full else "adapter"]
            return rate / DEFAULT_LEARNING_RATES["adamw"] * preferred
        return rate / 10 if is_full else rate

    @classmethod
    def build(cls, **flat: Any) -> TuneSettings:
        """Build from the names of all settings in one dictionary; None leaves a default.

        Raises:
            OptionError: there is no such setting, or its value is not one.
        """
        given = {name: value for name, value in flat.items() if value is not None}
        known = {item.name for kind in _PARTS.values() for item in dataclasses.fields(kind)}
        check_names(given, known)
        parts: dict[str, Any] = {field: _pick(kind, given) for field, kind in _PARTS.items()}
        return cls(**parts)

    def flat(self) -> dict[str, Any]:
        """Return all settings in one dictionary, the inverse of `build`, as JSON's own types."""
        return {
            name: value for part in _PARTS for name, value in dataclasses.asdict(getattr(self, part)).items()
        }


_PARTS: Mapping[str, type[Options]] = {
    "method": MethodSettings,
    "optimizer": OptimizerSettings,
    "objective": ObjectiveSettings,
    "loop": LoopSettings,
    "rollouts": RolloutSettings,
}


def _pick(kind: type[Options], given: Mapping[str, Any]) -> Options:
    names = {item.name for item in dataclasses.fields(kind)}
    return kind(**{name: _frozen(value) for name, value in given.items() if name in names})


def _frozen(value: Any) -> Any:
    """Lists, as JSON has them, become tuples."""
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def _span(part: str) -> range:
    first, _, last = part.partition("-")
    return range(int(first), int(last or first) + 1)
