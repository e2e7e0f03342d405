"""GRPO beside mlx-lm-lora: rollout tokens per second, steps per second and peak memory, in one run.

    pip install mlx-lm-lora==5.10.2        (or its wheel, unpacked, on PYTHONPATH)
    python tests/benchmarks/rollouts.py [--model DIR] [--rounds N] [--steps N] [--prompts N] [--tokens N]

Both sides draw groups of 8 answers to the same prompts (median 60 tokens) at temperature 1, all of `--tokens` tokens, since
nothing ends them, and train the same LoRA (rank 8, the last 16 layers) on them in float32 with the same BLAS. There is no
divergence from a reference, so neither side has one. mlx-lm-lora runs its own `train_grpo`; edgelm the batches, the sampler and
the stepper of its runs, writing its rollouts to the disk. Rollout tokens are per second of drawing, steps per second of all.
Each side runs in a process of its own, taking turns; the first step, which compiles, is not counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from tune import LAYERS, _convert, load_network

SEED, GROUP = 0, 8
SIDES = ("mlx-lm-lora", "edgelm")


class Watch:
    """Seconds and processor seconds between `begin` and `end`, of which the first is left out."""

    def __init__(self) -> None:
        self.seconds, self.cpu_s, self.count = 0.0, 0.0, -1

    def begin(self) -> None:
        self._began, self._cpu_began = time.perf_counter(), time.process_time()

    def end(self) -> None:
        self.count += 1
        if self.count:
            self.seconds += time.perf_counter() - self._began
            self.cpu_s += time.process_time() - self._cpu_began


def make_prompts(vocab: int, count: int) -> list[tuple[int, ...]]:
    random = np.random.default_rng(SEED)
    sizes = np.clip(np.exp(random.normal(np.log(60), 0.6, count)), 8, 400).astype(int)
    return [tuple(map(int, random.integers(3, vocab, size))) for size in sizes]


def worth(text: str) -> float:
    """A reward of any text that differs within a group."""
    return float(len(text) % 7)


def run_mlx_lm_lora(model: str, steps: int, prompts: int, tokens: int) -> None:
    network, _, vocab = load_network(model)
    import mlx.optimizers as optim
    from mlx_lm.tokenizer_utils import load as load_tokenizer
    from mlx_lm.tuner.utils import linear_to_lora_layers
    from mlx_lm_lora.trainer import grpo_trainer

    network.freeze()
    linear_to_lora_layers(network, LAYERS, {"rank": 8, "scale": 20.0, "dropout": 0.0})
    decode = load_tokenizer(Path(model)).decode
    tokenizer = type("Endless", (), {"eos_token_ids": (), "decode": staticmethod(decode)})()
    rows = [(list(prompt), [], "", "") for prompt in make_prompts(vocab, prompts)]
    drawing, whole = Watch(), Watch()
    generate, batches = grpo_trainer.generate_grpo, grpo_trainer.iterate_grpo_batches

    def drawn(**options: Any) -> Any:
        drawing.begin()
        answers = generate(**options)
        drawing.end()
        assert {answer.size for answer in answers[0]} == {tokens}
        return answers

    def reward(completions: list[str], **_: Any) -> list[float]:
        return [worth(text) for text in completions]

    def watched(**options: Any) -> Any:
        for batch in batches(**options):
            whole.begin()
            yield batch
            whole.end()

    grpo_trainer.generate_grpo = drawn
    with tempfile.TemporaryDirectory() as folder:
        arguments = grpo_trainer.GRPOTrainingArgs(
            batch_size=prompts, iters=steps + 2, steps_per_report=10**6, steps_per_save=10**6, max_seq_length=2048,
            adapter_file=str(Path(folder) / "adapters.safetensors"), group_size=GROUP, beta=0.0, epsilon=0.2,
            max_completion_length=tokens, temperature=1.0, top_p=1.0, top_k=0,
        )  # fmt: skip

        grpo_trainer.train_grpo(
            network, None, tokenizer, optim.AdamW(learning_rate=1e-5), rows, reward_funcs=[reward],
            args=arguments, iterate_batches=watched, end_answer_token="",
        )  # fmt: skip
    report(drawing, whole, drawing.count * prompts * GROUP * tokens)


def run_edgelm(model: str, steps: int, prompts: int, tokens: int) -> None:
    from edgelm.blas import preload_blas

    preload_blas()
    import threading

    from edgelm.model.load import load
    from edgelm.rewards.combined import Rewards, WeightedReward
    from edgelm.rewards.functions.given import FunctionReward
    from edgelm.tune.data.rows import RowOrigin
    from edgelm.tune.objectives.settings import ObjectiveSettings, make_objective
    from edgelm.tune.rollouts.asked_data import AskedData
    from edgelm.tune.rollouts.batches import RolloutBatches
    from edgelm.tune.rollouts.collector import RoundCollector
    from edgelm.tune.rollouts.engine import rollout_engine
    from edgelm.tune.rollouts.questions import RewardedQuestion
    from edgelm.tune.rollouts.sampling import GroupSampler
    from edgelm.tune.rollouts.store import RolloutStore
    from edgelm.tune.settings import LoopSettings, MethodSettings, OptimizerSettings, RolloutSettings
    from edgelm.tune.step.methods import make_trainable
    from edgelm.tune.step.optimizer import Optimizer
    from edgelm.tune.step.shared_prompt import row_caches
    from edgelm.tune.step.stepper import Stepper
    from edgelm.tune.step.threads import training_threads

    loaded = load(Path(model), check_fit=False)
    network, config = loaded.network, loaded.config
    make_trainable(network, MethodSettings(rank=8, alpha=160, layers=f"-{LAYERS}"))
    network.train()
    objective = make_objective(ObjectiveSettings(loss="grpo", normaliser="grpo", rollout_tokens=tokens))
    stepper = Stepper(
        network, Optimizer(OptimizerSettings()), objective,
        make_caches=lambda *placing: row_caches(network, config, *placing),
    )  # fmt: skip
    settings = RolloutSettings(group_size=GROUP, prompts_per_step=prompts)
    sampler = GroupSampler(network, rollout_engine(loaded), loaded.tokenizer, frozenset(), settings, tokens)
    asked = [
        RewardedQuestion(ids, "", {}, RowOrigin("made", at + 1))
        for at, ids in enumerate(make_prompts(loaded.vocab_size, prompts))
    ]
    reward = FunctionReward(lambda completions, **_: [worth(text) for text in completions])
    drawing, whole = Watch(), Watch()
    with tempfile.TemporaryDirectory() as folder, training_threads(config):
        collector = RoundCollector(
            asked, sampler, Rewards([WeightedReward(1.0, reward)]), RolloutStore(Path(folder)), settings, SEED
        )
        batches = RolloutBatches(
            AskedData.of(asked), collector, settings, longest=tokens, batch_tokens=LoopSettings().batch_tokens,
            seed=SEED, packs=True, cancel=threading.Event(), sync=stepper.sync,
        )  # fmt: skip
        for step in range(steps + 1):
            (plan,) = batches.epoch(step)
            whole.begin()
            drawing.begin()
            plans = batches.ready([plan])
            drawing.end()
            total = None
            for each in plans:
                gradients = stepper.gradients(batches.load(each))
                total = gradients if total is None else total + gradients
            assert total is not None
            stepper.update(total, 1e-5)
            whole.end()
    report(drawing, whole, steps * prompts * GROUP * tokens)


def report(drawing: Watch, whole: Watch, tokens: int) -> None:
    import mlx.core as mx

    print(json.dumps({
        "drawn": tokens / drawing.seconds, "drawn_cpu": tokens / drawing.cpu_s,
        "steps": whole.count / whole.seconds, "steps_cpu": whole.count / whole.cpu_s, "peak": mx.get_peak_memory(),
    }))  # fmt: skip


def measure(side: str, model: str, arguments: argparse.Namespace) -> dict[str, float]:
    sizes = ("steps", "prompts", "tokens")
    command = [sys.executable, __file__, "--side", side, "--model", model]
    command += [part for name in sizes for part in (f"--{name}", str(getattr(arguments, name)))]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(model: str, arguments: argparse.Namespace) -> None:
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(arguments.rounds):
        for side, found in runs.items():
            found.append(measure(side, model, arguments))
    middle = {
        side: {name: statistics.median(run[name] for run in found) for name in found[0]}
        for side, found in runs.items()
    }
    for side, of in middle.items():
        print(
            f"{side:12} {of['drawn']:8.2f} rollout tokens/s ({of['drawn_cpu']:.2f} per CPU second)   "
            f"{of['steps']:.4f} steps/s ({of['steps_cpu']:.4f})   peak {of['peak'] / 1e6:.0f} MB"
        )
    theirs, ours = (middle[side] for side in SIDES)
    ratio = {name: ours[name] / theirs[name] for name in ours}
    print(
        f"ratio        {ratio['drawn']:.2f} of the rollout tokens/s ({ratio['drawn_cpu']:.2f} by CPU)   "
        f"{ratio['steps']:.2f} of the steps/s ({ratio['steps_cpu']:.2f} by CPU)   {ratio['peak']:.2f} of the memory"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--model", default=None, help="a float32 model directory (default: convert smollm2 now)"
    )
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=2, help="that are counted")
    parser.add_argument("--prompts", type=int, default=2, help="of a step")
    parser.add_argument("--tokens", type=int, default=32, help="of every answer")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        run = run_edgelm if arguments.side == "edgelm" else run_mlx_lm_lora
        run(arguments.model, arguments.steps, arguments.prompts, arguments.tokens)
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(arguments.model or str(_convert(Path(folder))), arguments)


if __name__ == "__main__":
    main()
