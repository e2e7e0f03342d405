"""Pairs and judged answers of random tokens, and references of random numbers."""

from __future__ import annotations

import numpy as np

from edgelm.tune.batches.arrays import ReferenceValues
from edgelm.tune.data.dataset import Dataset
from edgelm.tune.data.rows import Example, Judged, Pair, RowOrigin

ORIGIN = RowOrigin("made", 1)


def make_pairs(sizes: list[tuple[int, int, int]], vocab: int, seed: int = 0) -> Dataset:
    """Rows of (prompt, chosen, rejected) so many tokens."""
    random = np.random.default_rng(seed)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(random.integers(3, vocab, count).tolist())

    rows = []
    for prompt_size, *answers in sizes:
        prompt = tokens(prompt_size)
        chosen, rejected = (_answer(prompt, tokens(size)) for size in answers)
        rows.append(Pair(chosen, rejected, ORIGIN))
    return Dataset(tuple(rows), "preference")


def make_judged(sizes: list[tuple[int, int]], vocab: int, seed: int = 0) -> Dataset:
    """Rows of (prompt, answer) so many tokens, every other one desirable."""
    pairs = make_pairs([(prompt, answer, 1) for prompt, answer in sizes], vocab, seed)
    rows = [Judged(row.sequences[0], at % 2 == 0, ORIGIN) for at, row in enumerate(pairs)]
    return Dataset(tuple(rows), "kto")


def make_reference(data: Dataset, seed: int = 0) -> ReferenceValues:
    random = np.random.default_rng(seed)

    def values(example: Example) -> np.ndarray:
        return random.normal(-5, 0.3, example.target_count).astype(np.float32)

    return ReferenceValues([*map(values, data.sequences)], [*map(values, data.mismatched)])


def _answer(prompt: tuple[int, ...], answer: tuple[int, ...]) -> Example:
    tokens = prompt + answer
    return Example(tokens, tuple(at >= len(prompt) for at in range(len(tokens))), ORIGIN)
