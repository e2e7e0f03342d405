"""One side of `server.py --host`, in a process of its own: reads a seed a line, writes seconds of host work per step.

    python tests/benchmarks/server_host.py edgelm|mlx-lm|network MODEL ROWS STEPS greedy|sampled

Host work is the processor time of the thread that builds steps and deals tokens; MLX computes in another thread on a CPU.
The first number is that thread's, the second the whole process's.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

PROMPT_TOKENS = 24
WARM_STEPS = 10

Step = Callable[[], object]


def edgelm(model: str, prompts: list[list[int]], most_tokens: int, *, is_sampled: bool) -> Step:
    from edgelm.runtime.assemble import RuntimeOptions, assemble
    from edgelm.runtime.requests import Request
    from edgelm.runtime.sampling.settings import Sampling

    ready = assemble(Path(model), RuntimeOptions(compile_steps=True))  # as `edgelm serve` does
    actives = []
    for seed, prompt in enumerate(prompts):
        sampling = Sampling(temperature=0.8, top_p=0.95, seed=seed) if is_sampled else Sampling()
        request = Request(prompt, max_tokens=most_tokens, sampling=sampling)
        actives.append(ready.engine.scheduler.add(request, threading.Event()))

    def step() -> None:
        ready.step()
        for active in actives:
            while active.events:
                active.events.popleft()

    while not all(active.tokens for active in actives):
        step()
    return step


def mlx_lm(model: str, prompts: list[list[int]], most_tokens: int, *, is_sampled: bool) -> Step:
    from edgelm.device import preload_blas

    preload_blas()
    from mlx_lm import load
    from mlx_lm.generate import BatchGenerator
    from mlx_lm.sample_utils import make_sampler

    network = load(model)[0]
    generator = BatchGenerator(network, max_tokens=most_tokens, prefill_batch_size=len(prompts))
    samplers = (
        [make_sampler(0.8, 0.95) for _ in prompts] if is_sampled else None
    )  # a sampler a request, as its server does
    generator.insert(prompts, samplers=samplers)

    def step() -> int:
        return len(generator.next()[1])

    while step() < len(prompts):
        pass
    return step


def network(model: str, prompts: list[list[int]], most_tokens: int, *, is_sampled: bool) -> Step:
    """The network alone, a step ahead, the likeliest tokens taken: what no host work of either side can be less than."""
    from edgelm.device import preload_blas

    preload_blas()
    import mlx.core as mx
    from mlx_lm import load
    from mlx_lm.models.cache import BatchKVCache

    called = load(model)[0]
    caches = [BatchKVCache([0] * len(prompts)) for _ in called.layers]

    def after(ids: mx.array) -> mx.array:
        following = mx.argmax(called(ids, cache=caches)[:, -1, :], axis=-1)
        mx.async_eval(following)  # type: ignore[no-untyped-call]
        return following

    under_way = after(mx.array(prompts))

    def step() -> None:
        nonlocal under_way
        following = after(under_way[:, None])
        under_way.tolist()
        under_way = following

    return step


SIDES = {"edgelm": edgelm, "mlx-lm": mlx_lm, "network": network}


def main() -> None:
    side, model, rows, steps, kind = sys.argv[1:]
    count = int(steps)
    print("ready", flush=True)
    for line in sys.stdin:
        draw = random.Random(int(line))
        prompts = [[draw.randrange(2, 250) for _ in range(PROMPT_TOKENS)] for _ in range(int(rows))]
        step = SIDES[side](model, prompts, count + 10 * WARM_STEPS, is_sampled=kind == "sampled")
        for _ in range(WARM_STEPS):
            step()
        thread, process = time.thread_time(), time.process_time()
        for _ in range(count):
            step()
        thread, process = time.thread_time() - thread, time.process_time() - process
        print(thread / count, process / count, flush=True)


if __name__ == "__main__":
    main()
