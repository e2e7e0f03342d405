"""Rows of one batch under several adapters, beside the same rows without any, and beside a batch for each adapter.

    python tests/benchmarks/adapters.py [--rows N] [--adapters K] [--steps N]

A small seeded llama in float32 on MLX's CPU backend, LoRA of rank 8 on every linear layer; processor time of a decode step.
"A batch each" is what a server does that loads a model, or takes a lock, for each adapter: K steps of fewer rows. Ratios above
1 favour one batch. Set OPENBLAS_NUM_THREADS=1: idle BLAS threads spin.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import mlx.core as mx

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

from lora_adapters import write_lora
from tune_networks import make_network

from edgelm.adapters.acting.variant import Variant
from edgelm.adapters.stack import AdapterStack
from edgelm.adapters.use import AdapterUse
from edgelm.runtime.batching.batch_cache import BatchCache
from edgelm.runtime.runner import ModelRunner
from edgelm.zoo.caches.maker import layer_maker

PROMPT = [5, 9, 2, 77]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("rows", 16), ("adapters", 4), ("steps", 30)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    network = make_network(
        hidden_size=256, intermediate_size=512, num_hidden_layers=8, num_attention_heads=4, num_key_value_heads=2
    )  # fmt: skip
    stack, make = AdapterStack(network), layer_maker(network)

    def batch(rows: Sequence[Variant]) -> BatchCache:
        cache = BatchCache(ModelRunner(network, stack.acting), pads=True)
        cache.join([PROMPT] * len(rows), [make() for _ in rows], lambda: False, rows)
        return cache

    plain = batch([stack.acting.base] * asked.rows)
    before = step_ms([plain], asked)
    with tempfile.TemporaryDirectory() as folder:
        variants = [
            stack.variant_of([AdapterUse(write_lora(Path(folder) / str(seed), network, "_proj", seed=seed, rank=8))])
            for seed in range(asked.adapters)
        ]  # fmt: skip
    rows = [variants[row % len(variants)] for row in range(asked.rows)]
    base = step_ms([plain], asked)
    mixed = step_ms([batch(rows)], asked)
    apart = step_ms([batch([row for row in rows if row is variant]) for variant in variants], asked)
    print(f"{asked.rows} rows of the base, no adapter in memory: {before:.1f} ms a step")
    print(f"the same, {asked.adapters} adapters in memory: {base:.1f} ms, {base / before:.2f} of that")
    print(
        f"{asked.rows} rows under {asked.adapters} adapters: {mixed:.1f} ms, {mixed / base:.2f} of the base's rows"
    )
    print(f"a batch each: {apart:.1f} ms, {apart / mixed:.2f}x of one batch")


def step_ms(batches: Sequence[BatchCache], asked: argparse.Namespace) -> float:
    """Return the milliseconds of processor time of a step of all rows, the median."""
    times = []
    for _ in range(asked.steps):
        began = time.process_time()
        for each in batches:
            mx.eval(each.step(mx.array([5] * (asked.rows // len(batches)))))
        times.append(time.process_time() - began)
    return statistics.median(times) * 1e3


if __name__ == "__main__":
    main()
