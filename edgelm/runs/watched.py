"""What an objective watches beside its loss, in words, for every place that shows a run.

Names and values are those of `Stepped.metrics`. Knows no objective.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

_SHOWN = {
    "margin": ("margin", "{:+.3f}"),
    "accuracy": ("right", "{:.0%}"),
    "chosen_log_prob": ("chosen", "{:.1f}"),
    "rejected_log_prob": ("rejected", "{:.1f}"),
    "desirable_reward": ("good", "{:+.3f}"),
    "undesirable_reward": ("bad", "{:+.3f}"),
    "reward": ("reward", "{:.3f}"),
    "chosen_reward": ("chosen", "{:+.3f}"),
    "rejected_reward": ("rejected", "{:+.3f}"),
    "reward_spread": ("spread", "{:.3f}"),
    "alike": ("groups alike", "{:.0%}"),
    "answer_tokens": ("answers of", "{:.0f} tokens"),
    "cut_off": ("cut off", "{:.0%}"),
    "entropy": ("entropy", "{:.2f}"),
    "kl": ("kl", "{:.3f}"),
    "clipped": ("clipped", "{:.0%}"),
    "imitation": ("imitation", "{:.3f}"),
}
"""Name → what it is called, and how it is written. Log-probabilities are those of whole answers, in nats."""

_COLLAPSED = -0.5
"""Nats a token that chosen answers have lost next to the reference: each is then less than two thirds as likely."""


CHOSEN_TOKEN_LOG_PROB = "chosen_token_log_prob"
"""The log-probability of chosen answers, in nats a token, of losses that have no reference to compare it with."""


def watched_facts(metrics: Mapping[str, object]) -> list[str]:
    """List what is watched: `["margin +0.213", "right 88%"]`."""
    return [
        f"{called} {form.format(value)}"
        for name, (called, form) in _SHOWN.items()
        if isinstance(value := metrics.get(name), int | float)
    ]


def watched_name(name: str) -> tuple[str, str] | None:
    """Return what a metric is called and how its values are written; None if it is not shown."""
    return _SHOWN.get(name)


def watched_warnings(metrics: Mapping[str, float]) -> Iterator[str]:
    """Say what has gone wrong though the loss falls: margins also grow where both answers become unlikely."""
    if metrics.get("alike") == 1:
        yield "no group has answers of different reward: this step teaches nothing; prompts may be too hard, or too easy"
    gained = metrics.get("chosen_gain", 0.0)
    if gained < _COLLAPSED:
        holding = (
            "--sft-weight holds them"
            if CHOSEN_TOKEN_LOG_PROB in metrics
            else "a higher --beta or --sft-weight holds them"
        )
        yield (
            f"the answers to prefer have lost {-gained:.2f} nats a token: they are unlearnt as well;"
            f" a lower --learning-rate, {holding}"
        )


def with_chosen_gain(metrics: Mapping[str, float], first: float | None) -> dict[str, float]:
    """Add how much chosen answers that are held out have gained on `first`, what they had before the first step.

    Where a loss has a reference, that says it already; without the one or the other nothing is added.
    """
    now = metrics.get(CHOSEN_TOKEN_LOG_PROB)
    if now is None or first is None:
        return dict(metrics)
    return {**metrics, "chosen_gain": now - first}
