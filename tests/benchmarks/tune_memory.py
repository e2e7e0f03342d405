"""Predicted against measured peak memory and time of training steps, over a grid of tiny and SmolLM2 configurations.

    python tests/benchmarks/tune_memory.py [--smollm2 DIRECTORY] [--only WORD]

Each row is a process of its own: the prediction from shapes (and, for the time, from the machine's rates measured just
before), then three real steps: the last one's `mx.get_peak_memory()`, the fastest one's seconds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_MEDIUM = {"hidden_size": 256, "num_hidden_layers": 6, "intermediate_size": 768, "num_attention_heads": 8}
_SMALL = {"hidden_size": 128, "num_hidden_layers": 4, "intermediate_size": 384, "num_attention_heads": 4}
_COMMON = {
    "num_key_value_heads": 2, "vocab_size": 4000, "rms_norm_eps": 1e-5, "rope_theta": 10_000.0, "head_dim": 32,
    "tie_word_embeddings": True, "max_position_embeddings": 2048, "query_pre_attn_scalar": 32.0,
}  # fmt: skip

sys.path[:0] = [str(Path(__file__).parents[1] / "support"), str(Path(__file__).parents[2])]

GRID: list[dict[str, Any]] = [
    {"model": "llama"},
    {"model": "llama", "lanes": 1, "length": 1024, "is_packed": True},
    {"model": "llama", "lanes": 1, "length": 1024, "is_packed": True, "grad_checkpoint": True},
    {"model": "llama", "grad_checkpoint": True},
    {"model": "llama", "loss_chunk": 0},
    {"model": "llama", "compiled": False},
    {"model": "llama", "method": "full"},
    {"model": "llama", "method": "full", "grad_checkpoint": True},
    {"model": "llama", "method": "full", "optimizer": "adafactor"},
    {"model": "llama", "method": "full", "optimizer": "muon"},
    {"model": "llama", "method": "dora"},
    {"model": "llama", "rank": 64},
    {"model": "llama", "lanes": 8, "length": 512, "trained_share": 0.3},
    {"model": "qwen2"},
    {"model": "qwen3", "lanes": 2, "length": 512, "is_packed": True},
    {"model": "gemma2", "lanes": 2, "length": 256, "is_packed": True},
    {"model": "phi3", "lanes": 2, "length": 512},
    {"model": "llama", "size": "small", "lanes": 2, "length": 64},
    {"model": "smollm2", "lanes": 2, "length": 256, "is_packed": True},
    {"model": "smollm2", "lanes": 1, "length": 1024, "is_packed": True},
    {"model": "smollm2", "lanes": 1, "length": 1024, "is_packed": True, "grad_checkpoint": True},
    {"model": "smollm2", "lanes": 8, "length": 128, "trained_share": 0.5},
]


def settings_of(row: dict[str, Any]) -> Any:
    from edgelm.tune.settings import TuneSettings

    names = ("method", "rank", "optimizer", "grad_checkpoint", "loss_chunk", "compiled")
    return TuneSettings.build(**{name: row[name] for name in names if name in row})


def shape_of(row: dict[str, Any]) -> Any:
    from edgelm.tune.plan.trace.step import BatchShape

    return BatchShape(
        row.get("lanes", 4),
        row.get("length", 256),
        row.get("is_packed", False),
        row.get("trained_share", 1.0),
    )


def config_of(row: dict[str, Any], smollm2: str | None) -> dict[str, Any]:
    from edgelm.zoo.configs.normalise import normalise_config, read_config

    if row["model"] == "smollm2":
        return normalise_config(read_config(Path(smollm2 or "")))
    size = _SMALL if row.get("size") == "small" else _MEDIUM
    return normalise_config({**_COMMON, **size, "model_type": row["model"]})


def measure(row: dict[str, Any], smollm2: str | None) -> dict[str, Any]:
    """Predicted and measured bytes, in this process."""
    from edgelm.blas import preload_blas
    from edgelm.device import detect

    preload_blas()
    import mlx.core as mx
    from tune_steps import measure_step

    from edgelm.pricing.machine_rates import measure_rates
    from edgelm.tune.plan.trace.peak import find_peak
    from edgelm.tune.plan.trace.step import trace_step
    from edgelm.tune.plan.trace.unread import build_unread
    from edgelm.zoo.network import build_network

    config, settings, shape = config_of(row, smollm2), settings_of(row), shape_of(row)
    directory = Path(smollm2 or "") if row["model"] == "smollm2" else Path(row["model"])
    began = time.perf_counter()
    headers: dict[str, Any] = {}
    if row["model"] == "smollm2":
        from edgelm.pricing.weight_bytes import read_headers

        headers = read_headers(directory)
    traced = trace_step(build_unread(config, headers, directory, detect()), config, settings, shape)
    predicted = find_peak(traced.graph).peak_bytes
    traced_s = time.perf_counter() - began
    predicted_s = traced.work.seconds(measure_rates())

    if row["model"] == "smollm2":
        from edgelm.model.load import load

        network = load(directory).network
    else:
        network = build_network(config, directory)
    mx.eval(network.parameters())
    found = measure_step(network, config, settings, shape)
    return {
        "predicted": predicted,
        "measured": found.peak_bytes,
        "traced_s": traced_s,
        "predicted_s": predicted_s,
        "measured_s": found.step_s,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smollm2", help="a model directory")
    parser.add_argument("--only", default="", help="rows that contain this")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        print(json.dumps(measure(json.loads(arguments.row), arguments.smollm2)))
        return
    worst = 0.0
    print(
        f"{'predicted':>10} {'measured':>10} {'ratio':>6} {'traced':>7}"
        f" {'predicted':>10} {'measured':>9} {'ratio':>6}  configuration"
    )
    for row in GRID:
        text = ", ".join(f"{key} {value}" for key, value in row.items())
        if arguments.only not in text or (row["model"] == "smollm2" and not arguments.smollm2):
            continue
        command = [sys.executable, __file__, "--row", json.dumps(row)]
        command += ["--smollm2", arguments.smollm2] if arguments.smollm2 else []
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"failed: {text}\n{done.stderr[-600:]}")
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        ratio = found["predicted"] / found["measured"]
        worst = max(worst, abs(ratio - 1))
        print(
            f"{found['predicted'] / 1e6:8.1f}MB {found['measured'] / 1e6:8.1f}MB {ratio:6.3f}"
            f" {found['traced_s']:6.1f}s {found['predicted_s']:9.3f}s {found['measured_s']:8.3f}s"
            f" {found['predicted_s'] / found['measured_s']:6.2f}  {text}",
            flush=True,
        )
    print(f"largest error {worst:.1%}")


if __name__ == "__main__":
    main()
