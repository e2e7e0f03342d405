"""Models, adapters and training runs with little in them, to fill a home for the app."""

from __future__ import annotations

import json
from pathlib import Path


def install(home: Path, name: str = "tiny", **manifest: object) -> Path:
    """A model directory with little in it."""
    directory = home / "models" / name
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(
        json.dumps({"model_type": "llama", "max_position_embeddings": 2048})
    )
    receipt = {"comparison": {"mean_kl": 0.0123, "top1_agreement": 0.98}, "tensors": {"Q4_1 → 4-bit": 3}}
    said = {
        "source": "org/base", "kind": "huggingface", "bits_per_weight": 4.5, "receipt": receipt, "licence": "mit", **manifest
    }  # fmt: skip
    (directory / "edgelm.json").write_text(json.dumps(said))
    return directory


def install_adapter(home: Path, name: str, base: str) -> Path:
    directory = home / "adapters" / name
    directory.mkdir(parents=True)
    config = {"fine_tune_type": "lora", "num_layers": 8, "lora_parameters": {"rank": 8}, "model": base}
    (directory / "adapter_config.json").write_text(json.dumps(config))
    return directory


def write_run(home: Path, name: str, events: list[dict[str, object]], model: str = "/models/tiny") -> Path:
    directory = home / "runs" / name
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps({"request": {"model": model}}))
    (directory / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return directory


def steps(count: int, factor: float = 1.0) -> list[dict[str, object]]:
    return [
        {"event": "started", "model": "tiny", "method": "lora", "step": 0, "rows": 3, "validation_rows": 1},
        *(
            {
                "event": "stepped",
                "step": n,
                "total_steps": count,
                "loss": factor * 3 / n,
                "smoothed": factor * 2 / n,
            }
            for n in range(1, count + 1)
        ),
        {"event": "validated", "step": count, "loss": factor, "best_loss": factor, "best_step": count},
    ]


DONE: dict[str, object] = {
    "event": "ended",
    "reason": "done",
    "step": 50,
    "adapter": "/a/poet",
    "elapsed_s": 9.0,
}
