"""One side of `generate.py`, in a process of its own: reads a seed a line, writes prefill and decode in token/s.

    python tests/benchmarks/generate_side.py edgelm|mlx-lm|llama.cpp MODEL PROMPT_TOKENS NEW_TOKENS

Which edgelm it is follows from PYTHONPATH, so that two checkouts can take turns. Random prompts, nothing cached.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

Speed = tuple[float, float]
VOCAB = 49_000  # SmolLM2 has 49,152; others more


def edgelm(model: str, new_tokens: int) -> Callable[[list[int]], Speed]:
    from edgelm.runtime.assemble import RuntimeOptions, assemble
    from edgelm.runtime.events import Finished
    from edgelm.runtime.requests import Request

    engine = assemble(Path(model), RuntimeOptions()).engine

    def measure(prompt: list[int]) -> Speed:
        engine.reset()
        request = Request(prompt, max_tokens=new_tokens, speculation=False)
        events = engine.generate(request, threading.Event())
        usage = next(event.usage for event in events if isinstance(event, Finished))
        return usage.prefill_tokens_per_s, usage.decode_tokens_per_s

    return measure


def mlx_lm(model: str, new_tokens: int) -> Callable[[list[int]], Speed]:
    """At its own defaults."""
    from edgelm.device import preload_blas

    preload_blas()  # the same BLAS for both
    import mlx.core as mx
    from mlx_lm import load
    from mlx_lm.generate import generate_step

    network = load(model)[0]

    def measure(prompt: list[int]) -> Speed:
        started = time.perf_counter()
        steps = generate_step(mx.array(prompt), network, max_tokens=new_tokens)
        next(steps)
        first = time.perf_counter()
        count = sum(1 for _ in steps)
        return len(prompt) / (first - started), count / (time.perf_counter() - first)

    return measure


def llama_cpp(model: str, new_tokens: int) -> Callable[[list[int]], Speed]:
    from llama_cpp import Llama

    network = Llama(model, n_ctx=4096, verbose=False)

    def measure(prompt: list[int]) -> Speed:
        network.reset()
        started = time.perf_counter()
        network.eval(prompt)
        token = network.sample(temp=0.0)
        first = time.perf_counter()
        for _ in range(new_tokens - 1):
            network.eval([token])
            token = network.sample(temp=0.0)
        return len(prompt) / (first - started), (new_tokens - 1) / (time.perf_counter() - first)

    return measure


SIDES = {"edgelm": edgelm, "mlx-lm": mlx_lm, "llama.cpp": llama_cpp}


def main() -> None:
    side, model, prompt_tokens, new_tokens = sys.argv[1:]
    measure = SIDES[side](model, int(new_tokens))
    print("ready", flush=True)
    for line in sys.stdin:
        draw = random.Random(int(line))
        prefill, decode = measure([draw.randrange(1000, VOCAB) for _ in range(int(prompt_tokens))])
        print(prefill, decode, flush=True)


if __name__ == "__main__":
    main()
