"""What real runs share: SmolLM2 in float32, questions, answers to those held out, and how sure a rate of them is."""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import edgelm
from edgelm.runs.events import Stepped, TuneEvent, Validated

ANSWER_TOKENS = 64
HELD_OUT = 32
FORMS = (
    "What is {}?", "Tell me about {}.", "Why does {} matter?", "How would you explain {} to a child?",
    "What should I know about {}?", "Who needs {}, and for what?",
)  # fmt: skip
TOPICS = (
    "rain", "bread", "the moon", "paper", "honey", "gold", "salt", "coffee", "a map", "a train", "snow", "glass",
    "a bicycle", "a library", "an island", "the heart", "a volcano", "chess", "soap", "a compass", "cotton", "a bridge",
    "silk", "a clock", "an orchestra", "steel", "a desert", "a vaccine", "the alphabet", "a magnet", "rice", "a harbour",
    "a candle", "the wind", "a microscope", "chocolate", "a forest", "a battery", "the tide", "a telescope", "wool",
    "a mirror", "cheese", "a satellite", "an earthquake", "money", "a garden", "the nose",
)  # fmt: skip


def arguments(text: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--model", type=Path, help="an MLX model; default: SmolLM2, converted into FOLDER")
    parser.add_argument(
        "--folder", type=Path, default=Path("real-runs"), help="model, data and runs go there"
    )
    return parser


def prepare(folder: Path, model: Path | None) -> Path:
    """Keep everything in `folder`, and return the model: by default SmolLM2-135M-Instruct in float32, converted once."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["EDGELM_HOME"] = str(folder.absolute() / "home")
    if model is not None:
        return model
    directory = folder / "smollm2-f32"
    if not directory.exists():
        edgelm.convert("smollm2", directory, mode="none", dtype="float32", verify=False)
    return directory


def questions(form: str | None = None) -> tuple[list[str], list[str]]:
    """Questions to learn from, and others about other topics: the last 8 of them, which no form of the first names."""
    ask = (form,) if form else FORMS
    learnt = [each.format(topic) for topic in TOPICS[:-8] for each in ask]
    return learnt, [each.format(topic) for topic in TOPICS[-8:] for each in ask]


def answers(
    model: Path,
    asked: Sequence[str],
    *,
    adapter: Path | None = None,
    tokens: int = ANSWER_TOKENS,
    first_seed: int = 0,
) -> list[str]:
    """Return an answer to each question, drawn at temperature 1; each has a seed of its own."""
    drawn = [""] * len(asked)
    with edgelm.load(model, adapter=adapter) as loaded:
        prompts = [
            {"messages": [{"role": "user", "content": text}], "seed": first_seed + at}
            for at, text in enumerate(asked)
        ]
        for result in loaded.generate_many(prompts, max_tokens=tokens, temperature=1.0):
            if result.error is not None:
                raise result.error
            drawn[result.index] = result.text
    return drawn


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Return the bounds of a rate, with 95% certainty (Wilson, 1927)."""
    z, rate = 1.96, hits / count
    middle = (rate + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count))
    return middle - half, middle + half


class Report:
    """Prints what a run comes to: held-out rates, some answers, and what it cost."""

    def __init__(self) -> None:
        self._begun_s = time.monotonic()

    def rate(self, when: str, texts: Sequence[str], is_hit: Callable[[str], bool]) -> None:
        hits = sum(map(is_hit, texts))
        low, high = wilson(hits, len(texts))
        print(
            f"{when}: {hits} of {len(texts)} held-out answers, {hits / len(texts):.0%} ({low:.0%} to {high:.0%})"
        )
        for text in texts[:3]:
            print(f"    {text!r}")
        self.cost()

    def events(self, event: TuneEvent) -> None:
        if isinstance(event, Stepped | Validated):
            numbers = " ".join(f"{name} {value:.3g}" for name, value in event.metrics.items())
            print(
                f"  {type(event).__name__.lower()} {event.step}: loss {event.loss:.4f} {numbers}", flush=True
            )

    def cost(self) -> None:
        used = os.times()
        processor = used.user + used.system + used.children_user + used.children_system
        print(
            f"  so far {time.monotonic() - self._begun_s:.0f} s, {processor:.0f} s of processor time",
            flush=True,
        )
