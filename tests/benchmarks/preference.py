"""DPO beside mlx-lm-lora: pairs per second and peak memory, in one run.

    pip install mlx-lm-lora==5.10.2        (or its wheel, unpacked, on PYTHONPATH)
    python tests/benchmarks/preference.py [--model DIR] [--only tiny|smollm2] [--rounds N] [--steps N]

Both sides train the same LoRA (rank 8, the last 16 layers) on the same pairs in float32 with the same BLAS: prompts (median 60
tokens) with two answers (median 80 each, lognormal). mlx-lm-lora runs its own `train_dpo` with batches of 4 pairs and a second
model as reference; edgelm its own batches of as many positions as 4 pairs have, and its reference, which is computed before:
that time is counted in full, as of a run of one epoch. The pairs of a few steps are not those of the other side's, so a pair
counts by its tokens: one of the mean length as 1. Each side runs in a process of its own, taking turns. The
first steps, which compile, are not counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from tune import LAYERS, Meter, _convert, load_network

PAIRS, SEED, BATCH_PAIRS = 400, 0, 4
SIDES = ("mlx-lm-lora", "edgelm")


def make_rows(vocab: int) -> list[tuple[list[int], list[int], list[int]]]:
    """(prompt, chosen, rejected) of every pair, as token ids."""
    random = np.random.default_rng(SEED)

    def tokens(median: float, sigma: float) -> list[int]:
        size = int(np.clip(np.exp(random.normal(np.log(median), sigma)), 8, 400))
        return [*map(int, random.integers(3, vocab, size))]

    return [(tokens(60, 0.6), tokens(80, 0.6), tokens(80, 0.6)) for _ in range(PAIRS)]


def pair_tokens(rows: list[tuple[list[int], list[int], list[int]]]) -> np.ndarray[Any, Any]:
    """The tokens of each pair, its prompt counted with both answers."""
    return np.array([2 * len(prompt) + len(chosen) + len(rejected) for prompt, chosen, rejected in rows])


class _Pairs:
    """Pairs as mlx-lm-lora's batches read them."""

    def __init__(self, rows: list[tuple[list[int], list[int], list[int]]]) -> None:
        self._rows = [
            {"chosen": prompt + chosen, "rejected": prompt + rejected,
             "chosen_prompt_length": len(prompt), "rejected_prompt_length": len(prompt)}
            for prompt, chosen, rejected in rows
        ]  # fmt: skip

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, at: int) -> dict[str, Any]:
        return self._rows[at]


def run_mlx_lm_lora(model: str, steps: int, warm: int) -> None:
    network, _, vocab = load_network(model)
    reference, _, _ = load_network(model)
    import mlx.core as mx
    import mlx.optimizers as optim
    from mlx_lm.tuner.utils import linear_to_lora_layers
    from mlx_lm_lora.trainer import dpo_trainer

    mx.set_wired_limit = lambda _: 0  # type: ignore[assignment]  # there is none on a CPU, and it asks for Metal's
    mx.device_info = lambda: {"max_recommended_working_set_size": 0}  # type: ignore[assignment]
    network.freeze()
    reference.freeze()
    linear_to_lora_layers(
        network, min(LAYERS, len(network.layers)), {"rank": 8, "scale": 20.0, "dropout": 0.0}
    )
    meter = Meter(warm)
    batches = dpo_trainer.iterate_dpo_batches
    mean, pairs = pair_tokens(make_rows(vocab)).mean(), 0.0
    np.random.seed(SEED)

    def watched(**options: Any) -> Any:
        nonlocal pairs
        if meter.step or meter.is_begun:  # it takes a new iterator for every step
            meter.end(pairs)
        meter.is_begun = True
        batch = next(batches(**options))
        pairs = sum(np.count_nonzero(np.array(side)) for side in batch[:2]) / mean  # padding is 0
        meter.begin()
        yield batch

    meter.is_begun = False
    dpo_trainer.iterate_dpo_batches = watched
    mx.reset_peak_memory()
    with tempfile.TemporaryDirectory() as folder:
        arguments = dpo_trainer.DPOTrainingArgs(
            batch_size=BATCH_PAIRS, iters=steps + 1, steps_per_report=10**6, steps_per_save=10**6, max_seq_length=2048,
            adapter_file=str(Path(folder) / "adapters.safetensors"),
        )  # fmt: skip
        optimizer = optim.AdamW(learning_rate=1e-5)
        dpo_trainer.train_dpo(network, reference, optimizer, _Pairs(make_rows(vocab)), None, arguments)
    report(meter)


def run_edgelm(model: str, steps: int, warm: int) -> None:
    network, config, vocab = load_network(model)
    import mlx.core as mx

    from edgelm.tune.batches.arrays import ReferenceValues
    from edgelm.tune.batches.batcher import BatchPlanner
    from edgelm.tune.data.dataset import Dataset
    from edgelm.tune.data.rows import Example, Pair, RowOrigin
    from edgelm.tune.objectives.settings import ObjectiveSettings, make_objective
    from edgelm.tune.reference.scorer import Scorer
    from edgelm.tune.settings import LoopSettings, MethodSettings, OptimizerSettings
    from edgelm.tune.step.methods import make_trainable
    from edgelm.tune.step.optimizer import Optimizer
    from edgelm.tune.step.shared_prompt import row_caches
    from edgelm.tune.step.stepper import Stepper
    from edgelm.tune.step.threads import training_threads

    origin = RowOrigin("made", 1)

    def sequence(prompt: list[int], answer: list[int]) -> Example:
        tokens = (*prompt, *answer)
        return Example(tokens, tuple(at >= len(prompt) for at in range(len(tokens))), origin)

    rows = [Pair(sequence(p, c), sequence(p, r), origin) for p, c, r in make_rows(vocab)]
    data = Dataset(tuple(rows), "preference")
    batch_tokens = round(BATCH_PAIRS * sum(row.packed_size - row.shared_size for row in rows) / len(rows))
    zeros = ReferenceValues([np.zeros(item.target_count, np.float32) for item in data.sequences])
    planner = BatchPlanner(data, batch_tokens, SEED, packing=True, sharing=True, reference=zeros)
    plans = planner.epoch(0)[:steps]
    make_caches = lambda *placing: row_caches(network, config, *placing)  # noqa: E731
    meter = Meter(warm)
    sizes = pair_tokens(make_rows(vocab))
    shares = sizes / sizes.mean()
    mx.reset_peak_memory()
    with training_threads(config):
        scorer = Scorer(network, chunk=LoopSettings().loss_chunk, make_caches=make_caches)
        scoring = Meter(warm)
        for plan in plans:
            scoring.begin()
            scorer.log_probs(planner.load(plan))
            scoring.end(shares[[*plan.rows]].sum())
        mx.clear_cache()
        make_trainable(
            network, MethodSettings(rank=8, alpha=160, layers=f"-{min(LAYERS, len(network.layers))}")
        )
        objective = make_objective(ObjectiveSettings(loss="dpo"))
        stepper = Stepper(network, Optimizer(OptimizerSettings()), objective, make_caches=make_caches)
        for plan in plans:
            meter.begin()
            stepper.update(stepper.gradients(planner.load(plan)), 1e-5)
            meter.end(shares[[*plan.rows]].sum())
    meter.seconds += scoring.seconds
    meter.cpu_s += scoring.cpu_s
    report(meter)


def report(meter: Meter) -> None:
    import mlx.core as mx

    print(json.dumps({
        "speed": meter.tokens / meter.seconds, "per_cpu_s": meter.tokens / meter.cpu_s, "peak": mx.get_peak_memory(),
    }))  # fmt: skip


def measure(side: str, model: str, steps: int, warm: int) -> dict[str, float]:
    command = [
        sys.executable, __file__, "--side", side, "--model", model, "--steps", str(steps), "--warm", str(warm),
    ]  # fmt: skip
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(name: str, model: str, rounds: int, steps: int, warm: int) -> None:
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(rounds):
        for side, found in runs.items():
            found.append(measure(side, model, steps, warm))
    speed, per_cpu_s = (
        {side: statistics.median(run[key] for run in found) for side, found in runs.items()}
        for key in ("speed", "per_cpu_s")
    )
    peak = {side: max(run["peak"] for run in found) for side, found in runs.items()}
    for side in SIDES:
        print(
            f"{name:8} {side:12} {speed[side]:8.3f} pairs/s ({per_cpu_s[side]:.3f} per CPU second)"
            f"   peak {peak[side] / 1e6:8.0f} MB"
        )
    theirs, ours = SIDES
    print(
        f"{name:8} ratio        {speed[ours] / speed[theirs]:8.2f} of the speed"
        f" ({per_cpu_s[ours] / per_cpu_s[theirs]:.2f} per CPU second, which a busy machine disturbs less)"
        f"   {peak[ours] / peak[theirs]:.2f} of the memory",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--model", default=None, help="a float32 model directory (default: convert smollm2 now)"
    )
    parser.add_argument("--only", choices=("tiny", "smollm2"))
    parser.add_argument("--warm", type=int, default=2, help="steps that are not counted")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--tiny-steps", type=int, default=40)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        run = run_edgelm if arguments.side == "edgelm" else run_mlx_lm_lora
        run(arguments.model, arguments.steps, arguments.warm)
        return
    if arguments.only != "smollm2":
        compare("tiny", "tiny", arguments.rounds, arguments.tiny_steps, arguments.warm)
    if arguments.only == "tiny":
        return
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or str(_convert(Path(folder)))
        compare("smollm2", model, arguments.rounds, arguments.steps, arguments.warm)


if __name__ == "__main__":
    main()
