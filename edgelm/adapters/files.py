"""An adapter on disk: mlx-lm's two files, and the hash of the base it was trained on.

`adapters.safetensors` and `adapter_config.json` are what stock mlx-lm reads and writes; edgelm adds an `edgelm` entry to
the config and a manifest. Which modules are adapted is read off the tensors, so an adapter whose names or shapes do not fit
is refused instead of being loaded in part.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx

from edgelm.atomic import disk_errors
from edgelm.errors import FormatError, NotFoundError, UnsupportedError
from edgelm.json_files import read_json
from edgelm.library.identity import file_sha256
from edgelm.library.manifest import Manifest
from edgelm.zoo.lora import LEAVES
from edgelm.zoo.weights.stored_array import load_safetensors

WEIGHTS, CONFIG = "adapters.safetensors", "adapter_config.json"
SCORE = "score.safetensors"
"""The scalar head of a reward model, beside the two (`edgelm.adapters.scoring`)."""
REWARD = "reward"
"""The task of an adapter that scores answers."""

_SHARDED = (
    "adapter_model.safetensors.index.json",
    "adapters.safetensors.index.json",
    "adapter_model.bin.index.json",
)
KINDS = ("lora", "dora", "full")


@dataclass(frozen=True)
class AdapterConfig:
    """What `adapter_config.json` says."""

    kind: str
    """"lora", "dora", or "full" where the tensors replace the base's."""
    rank: int = 0
    scale: float = 1.0
    dropout: float = 0.0
    method: str = "lora"
    """As `edgelm tune --method`; rslora is a lora with another scale."""
    alpha: float | None = None
    base_sha256: str | None = None
    """`weights_identity` of the base; None if another tool made the adapter."""
    base: str | None = None
    """The base's name."""
    num_layers: int = -1
    task: str | None = None
    """REWARD for an adapter that scores answers; None for one that writes them."""
    template_sha256: str | None = None
    """`template_identity` of the tokenizer; of reward models."""
    score_sha256: str | None = None
    """The SHA-256 of the head's file; of reward models."""

    def to_json(self, modules: list[str]) -> dict[str, Any]:
        """Return the content of `adapter_config.json`; stock mlx-lm finds `modules` by their whole path."""
        parameters = {"rank": self.rank, "scale": self.scale, "dropout": self.dropout, "keys": modules}
        own: dict[str, Any] = {
            "base_sha256": self.base_sha256, "method": self.method, "alpha": self.alpha,
        }  # fmt: skip
        if self.task is not None:
            own |= {
                "task": self.task, "template_sha256": self.template_sha256, "score_sha256": self.score_sha256,
            }  # fmt: skip
        return {
            "fine_tune_type": self.kind,
            "model": self.base,
            "num_layers": self.num_layers,
            "lora_parameters": None if self.kind == "full" else parameters,
            "edgelm": own,
        }


@dataclass(frozen=True)
class Adapter:
    """An adapter, its tensors not read yet."""

    directory: Path
    config: AdapterConfig
    tensors: dict[str, mx.array] = field(repr=False)
    """By path in the network."""

    @property
    def name(self) -> str:
        """Return the name of the adapter's directory."""
        return self.directory.absolute().name

    @property
    def modules(self) -> list[str]:
        """Paths of the adapted modules."""
        return sorted({path.rpartition(".")[0] for path in self.tensors})

    @property
    def size_bytes(self) -> int:
        """What its tensors take in memory."""
        return sum(value.nbytes for value in self.tensors.values())

    def tensors_of(self, module: str) -> dict[str, mx.array]:
        """Return the adapter's tensors on one module, by `LEAVES`."""
        found = {leaf: self.tensors.get(f"{module}.{leaf}") for leaf in LEAVES}
        return {leaf: value for leaf, value in found.items() if value is not None}


def read_adapter(directory: Path) -> Adapter:
    """Read the adapter in `directory`.

    Raises:
        NotFoundError: a file is missing.
        FormatError: one is broken, or holds what is no adapter.
        UnsupportedError: it is in PEFT's format.
    """
    config = read_adapter_config(checked_directory(directory))
    tensors = load_safetensors(directory / WEIGHTS)
    if config.kind != "full":
        strange = [name for name in tensors if name.rpartition(".")[2] not in LEAVES]
        if strange:
            raise FormatError(
                f"{directory / WEIGHTS} holds {strange[0]}, expected names that end in lora_a, lora_b or m"
            )
    if not tensors:
        raise FormatError(f"{directory / WEIGHTS} holds no tensor")
    return Adapter(directory, config, tensors)


def read_adapter_config(directory: Path) -> AdapterConfig:
    """Read what the adapter in `directory` says of itself; no tensor.

    Raises:
        NotFoundError, FormatError: the file is missing or broken, or is no adapter's.
    """
    return _parse(read_json(directory / CONFIG), directory / CONFIG)


def _parse(said: Mapping[str, Any], path: Path) -> AdapterConfig:
    kind = said.get("fine_tune_type", "lora")
    if kind not in KINDS:
        raise FormatError(f"{path}: fine_tune_type is {kind!r}, expected {', '.join(KINDS)}")
    parameters = said.get("lora_parameters") or {}
    if kind != "full" and not isinstance(parameters.get("scale"), int | float):
        raise FormatError(f"{path} has no lora_parameters.scale")
    own = said.get("edgelm") or {}
    return AdapterConfig(
        kind=kind,
        rank=int(parameters.get("rank") or 0),
        scale=float(parameters.get("scale", 1.0)),
        dropout=float(parameters.get("dropout") or 0.0),
        method=str(own.get("method") or kind),
        alpha=own.get("alpha"),
        base_sha256=own.get("base_sha256"),
        base=said.get("model"),
        num_layers=int(said.get("num_layers") or -1),
        task=own.get("task"),
        template_sha256=own.get("template_sha256"),
        score_sha256=own.get("score_sha256"),
    )


def write_adapter(
    directory: Path,
    config: AdapterConfig,
    tensors: Mapping[str, mx.array],
    manifest: Manifest,
    score: Mapping[str, mx.array] | None = None,
) -> None:
    """Fill an existing directory; whole or not is the caller's business (`edgelm.atomic`).

    Args:
        score: the tensors of a reward model's head.

    Raises:
        OutputError: the disk refuses.
    """
    modules = sorted({path.rpartition(".")[0] for path in tensors})
    save_tensors(directory / WEIGHTS, tensors)
    if score:
        save_tensors(directory / SCORE, score)
        config = dataclasses.replace(config, score_sha256=file_sha256(directory / SCORE))
    with disk_errors(directory):
        text = json.dumps(config.to_json(modules), indent=2)
        (directory / CONFIG).write_text(text + "\n", encoding="utf-8")
        hashes = {WEIGHTS: file_sha256(directory / WEIGHTS)}
        size = (directory / WEIGHTS).stat().st_size
        dataclasses.replace(manifest, weights_sha256=hashes, size_bytes=size).write(directory)


def save_tensors(path: Path, tensors: Mapping[str, mx.array]) -> None:
    """Evaluate `tensors` and write them to a safetensors file.

    Raises:
        OutputError: the disk refuses.
    """
    arrays = dict(tensors)
    mx.eval(arrays)
    with disk_errors(path):
        try:
            mx.save_safetensors(str(path), arrays)
        except RuntimeError as error:  # how MLX says that a write failed
            raise OSError(None, str(error)) from error
        _check_whole(path, arrays)


def _check_whole(path: Path, tensors: Mapping[str, mx.array]) -> None:
    """MLX does not notice every failed write."""
    wanted = sum(value.nbytes for value in tensors.values())
    if path.stat().st_size < wanted:
        raise OSError(28, "no space left on the device: it was written in part")


def refuse_shards(directory: Path) -> None:
    """Refuse an adapter whose tensors an index spreads over files, unless it is there in one file as well.

    Raises:
        UnsupportedError: naming the index.
    """
    index = next((name for name in _SHARDED if (directory / name).is_file()), None)
    if index is not None and not (directory / index.removesuffix(".index.json")).exists():
        raise UnsupportedError(
            f"{directory} holds an adapter in shards ({index}), and adapters are read from one file",
            hint="load it where it was made, and save it with a larger max_shard_size",
        )


def checked_directory(directory: Path) -> Path:
    """Return `directory`, which holds the two files of an mlx-lm adapter.

    Raises:
        NotFoundError: one of them is missing.
        UnsupportedError: it is in PEFT's format, or in shards.
    """
    if not (directory / WEIGHTS).exists():
        refuse_shards(directory)
    if (directory / "adapter_model.safetensors").exists() and not (directory / WEIGHTS).exists():
        raise UnsupportedError(
            f"{directory} is a PEFT adapter",
            hint=f"edgelm adapters import {shlex.quote(str(directory))} --model MODEL makes one of it",
        )
    for name in (WEIGHTS, CONFIG):
        if not (directory / name).exists():
            raise NotFoundError(f"{directory / name} does not exist, so {directory} is not an mlx-lm adapter")
    return directory
