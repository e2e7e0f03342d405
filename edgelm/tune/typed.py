"""The settings of a training run by name, for type checkers and editors: what `**settings` of `edgelm.tune` may hold.

`TuneSettings`, `DataSettings` and `TuneRequest` hold them, check them and have their defaults; a test keeps them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

if TYPE_CHECKING:
    from edgelm.progress import Progress
    from edgelm.runs.events import TuneEvent


class TuneOptions(TypedDict, total=False):
    """What is trained, how, for how long, and on which part of the data; None leaves a default."""

    method: Literal["lora", "rslora", "dora", "full"] | None
    rank: int | None
    alpha: float | None
    dropout: float | None
    targets: Sequence[str] | None
    layers: str | None
    ranks: Sequence[tuple[str, int]] | None
    optimizer: Literal["adamw", "adafactor", "lion", "muon"] | None
    learning_rate: float | None
    weight_decay: float | None
    schedule: Literal["cosine", "linear", "constant"] | None
    warmup: float | None
    clip: float | None
    loss: str | None
    beta: float | None
    label_smoothing: float | None
    sft_weight: float | None
    gamma: float | None
    desirable_weight: float | None
    undesirable_weight: float | None
    center_rewards: float | None
    normaliser: Literal["grpo", "dapo", "dr_grpo"] | None
    epsilon: float | None
    epsilon_high: float | None
    importance: Literal["token", "sequence"] | None
    rollout_tokens: int | None
    reward: Sequence[str] | None
    group_size: int | None
    prompts_per_step: int | None
    updates_per_round: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    mask_overlong: bool | None
    advantage_scale: Literal["group", "step", "none"] | None
    epochs: float | None
    steps: int | None
    for_s: float | None
    batch_tokens: int | None
    accumulate: int | None
    packing: bool | None
    grad_checkpoint: bool | None
    loss_chunk: int | None
    compiled: bool | None
    seed: int | None
    validate_every: int | None
    patience: int | None
    checkpoint_every: int | None
    keep: int | None
    pause_on: Sequence[str] | None
    max_tokens: int
    long_rows: Literal["refuse", "truncate", "split", "drop"]
    turns: Literal["all", "last", "each"]
    completions: Literal["chat", "plain"]
    thinking: bool | None
    validation: str | Path | None
    hold_out: float
    prompts: Sequence[str]
    answer_tokens: int
    name: str | None
    output: str | Path | None
    check_fit: bool


class TuneArguments(TuneOptions, total=False):
    """The same, and who is told how far the run is."""

    on_event: Callable[[TuneEvent], None]
    on_progress: Callable[[Progress], None]
