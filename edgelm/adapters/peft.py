"""PEFT's LoRA, rsLoRA and DoRA adapters in and out, computing the same.

PEFT keeps `lora_A.weight` `[R, I]`, `lora_B.weight` `[O, R]` and `lora_magnitude_vector` `[O]` under transformers' module
paths; mlx-lm keeps their transposes under its own. Paths are the same for the architectures whose modules mlx-lm does not
rename; an adapter on a module that the network does not have under that name is refused. An embedding that is the head too
has one adapter here, which acts in both places: PEFT's `ensure_weight_tying`, under which it writes the adapter twice.

Source: peft 0.21, tuners/lora (`layer.py`, `dora.py`) and utils/save_and_load.py.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from edgelm.adapters.base import AdapterBase, parent_of
from edgelm.adapters.files import (
    REWARD,
    Adapter,
    AdapterConfig,
    refuse_shards,
    save_tensors,
    write_adapter,
)
from edgelm.adapters.scoring.files import read_score
from edgelm.adapters.scoring.head import SCORE_WEIGHT
from edgelm.adapters.uniform import rank_of, uniform
from edgelm.atomic import atomic_directory, disk_errors
from edgelm.errors import FormatError, NotFoundError, UnsupportedError
from edgelm.json_files import read_json
from edgelm.library.identity import file_sha256
from edgelm.library.manifest import Manifest
from edgelm.zoo.configs import normalise as configs
from edgelm.zoo.lora import adaptable
from edgelm.zoo.network import build_network
from edgelm.zoo.weights.stored_array import load_safetensors

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
_PREFIX = "base_model.model."
_HEAD = "lm_head"
_SCORES, _SCORE = "SEQ_CLS", "score"
"""The task of adapters that score, and the module that they keep whole."""

_REFUSED = (
    "modules_to_save", "lora_bias", "fan_in_fan_out", "use_qalora", "use_bdlora", "target_parameters",
    "alora_invocation_tokens", "trainable_token_indices", "layer_replication", "arrow_config",
    "monteclora_config", "velora_config",
)  # fmt: skip
"""Settings under which an adapter is more, or something else, than what mlx-lm can hold."""
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq")
"""Ways to begin that change the base's own weights."""

_LEAVES = {
    "lora_A.weight": ("lora_a", True),
    "lora_B.weight": ("lora_b", True),
    "lora_embedding_A": ("lora_a", True),
    "lora_embedding_B": ("lora_b", True),
    "lora_magnitude_vector": ("m", False),
    "lora_magnitude_vector.weight": ("m", False),
}
"""PEFT's leaf → mlx-lm's, and whether it is transposed."""


@dataclass(frozen=True)
class PeftConfig:
    """What matters of `adapter_config.json`."""

    rank: int
    alpha: float
    is_rslora: bool
    is_dora: bool
    alphas: Mapping[str, float]
    is_scorer: bool = False
    """Whether it is trained for `AutoModelForSequenceClassification`, with its head among the tensors."""

    @classmethod
    def read(cls, path: Path) -> PeftConfig:
        """Refuses what cannot be carried over, by name."""
        said = read_json(path)
        if said.get("peft_type") != "LORA":
            raise UnsupportedError(f"{path}: peft_type is {said.get('peft_type')!r}, expected LORA")
        is_scorer = said.get("task_type") == _SCORES
        for key in _REFUSED:
            if said.get(key) and not (is_scorer and key == "modules_to_save" and _SCORE in said[key]):
                raise UnsupportedError(f"{path}: {key} is {said[key]!r}, which mlx-lm's adapters cannot hold")
        if said.get("bias", "none") != "none":
            raise UnsupportedError(f"{path}: bias is {said['bias']!r}, which mlx-lm's adapters cannot hold")
        if str(said.get("init_lora_weights")).partition("_")[0] in _CHANGES_BASE:
            raise UnsupportedError(
                f"{path}: init_lora_weights is {said['init_lora_weights']!r}, which changed the base's weights",
                hint="convert it with PEFT's path_initial_model_for_weight_conversion first",
            )
        alphas = said.get("alpha_pattern") or {}
        try:
            return cls(
                rank=int(said["r"]),
                alpha=float(said["lora_alpha"]),
                is_rslora=bool(said.get("use_rslora")),
                is_dora=bool(said.get("use_dora")),
                alphas={str(pattern): float(alpha) for pattern, alpha in alphas.items()},
                is_scorer=is_scorer,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"{path} has no usable r and lora_alpha: {error}") from error

    def scale_of(self, module: str, rank: int) -> float:
        """alpha / rank, or alpha / sqrt(rank); the first pattern that the end of the path matches decides alpha."""
        said = (alpha for pattern, alpha in self.alphas.items() if re.match(rf"(.*\.)?({pattern})$", module))
        alpha = next(said, self.alpha)
        return float(alpha / (rank**0.5 if self.is_rslora else rank))


def import_peft(
    source: Path, target: Path, model: Path, base: AdapterBase, *, template_sha256: str | None = None
) -> Path:
    """Make an adapter of the model in `model` from the PEFT adapter in `source`; one of SEQ_CLS becomes a reward model.

    Args:
        template_sha256: of the template that a reward model reads answers in.

    Raises:
        NotFoundError, FormatError: `source` is none, or does not fit the model.
        UnsupportedError: it holds what mlx-lm's format cannot.
        OutputError: `target` exists, or the disk refuses.
    """
    refuse_shards(source)
    for name in (WEIGHTS, CONFIG):
        if not (source / name).exists():
            raise NotFoundError(f"{source / name} does not exist, so {source} is no PEFT adapter")
    said = PeftConfig.read(source / CONFIG)
    loaded = load_safetensors(source / WEIGHTS)
    score = _taken_score(loaded, source) if said.is_scorer else {}
    config = configs.normalise_config(configs.read_config(model))
    tensors = _renamed(loaded, source, build_network(config, model), config)
    ranks = {
        name.rpartition(".")[0]: value.shape[1] for name, value in tensors.items() if name.endswith(".lora_a")
    }
    scale = said.scale_of("", said.rank)
    even = uniform(tensors, lambda module: said.scale_of(module, ranks[module]), scale)
    made = AdapterConfig(
        kind="dora" if said.is_dora else "lora",
        rank=rank_of(even),
        scale=scale,
        method="dora" if said.is_dora else "rslora" if said.is_rslora else "lora",
        alpha=said.alpha,
        base_sha256=base.sha256,
        base=base.source,
        num_layers=base.num_layers,
        task=REWARD if score else None,
        template_sha256=template_sha256 if score else None,
    )
    manifest = Manifest(
        source=os.path.normpath(source.absolute()),
        kind="adapter",
        licence=base.licence,
        source_sha256={WEIGHTS: file_sha256(source / WEIGHTS)},
        recipe={"imported": "peft", "method": made.method, "rank": made.rank, "scale": scale},
        parents=[base.as_parent()],
    )
    with atomic_directory(target) as directory:
        write_adapter(directory, made, even, manifest, score)
    return target


def _taken_score(loaded: dict[str, mx.array], source: Path) -> dict[str, mx.array]:
    """Take the head of a scorer out of `loaded`."""
    name = f"{_PREFIX}{SCORE_WEIGHT}"
    # PEFT lists both names of heads, of which a network has one.
    weight = loaded.pop(name, None)
    if weight is None or weight.ndim != 2 or weight.shape[0] != 1:
        shape = "none" if weight is None else tuple(weight.shape)
        raise UnsupportedError(
            f"{source / WEIGHTS}: {name} has the shape {shape}, expected (1, hidden size): a head of one label"
        )
    return {SCORE_WEIGHT: weight.astype(mx.float32)}


def _renamed(
    loaded: Mapping[str, mx.array], source: Path, network: Any, config: Mapping[str, Any]
) -> dict[str, mx.array]:
    known = adaptable(network)
    tensors: dict[str, mx.array] = {}
    heads: dict[str, mx.array] = {}
    for name, value in loaded.items():
        path, leaf = _split(name.removeprefix(_PREFIX).replace(".default", ""))
        if leaf.startswith("base_layer"):
            continue  # a copy of the base's own weights, which PEFT writes for embeddings
        if leaf not in _LEAVES:
            raise FormatError(f"{source / WEIGHTS} holds {name}, which is no part of a LoRA or DoRA adapter")
        if path == _HEAD and config.get("tie_word_embeddings"):
            heads[leaf] = value
            continue
        if path not in known:
            raise UnsupportedError(f"{source} adapts {path}, which this model does not have under that name")
        _refuse_magnitude(path, known[path], leaf)
        own, is_transposed = _LEAVES[leaf]
        tensors[f"{path}.{own}"] = value.T if is_transposed else value.reshape(-1)
    if config.get("tie_word_embeddings"):
        _check_tied(source, tensors, heads, _token_embedding(known))
    if not tensors:
        raise FormatError(f"{source / WEIGHTS} holds no adapter")
    return {name: mx.contiguous(value.astype(mx.float32)) for name, value in tensors.items()}


def _split(name: str) -> tuple[str, str]:
    """Module path and leaf."""
    for mark in (".lora_", ".base_layer"):
        path, found, leaf = name.partition(mark)
        if found:
            return path, found[1:] + leaf
    return name.rpartition(".")[0], name.rpartition(".")[2]


def _is_embedding(module: Any) -> bool:
    return isinstance(module, nn.Embedding | nn.QuantizedEmbedding)


def _token_embedding(known: Mapping[str, Any]) -> str | None:
    """The embedding that may be the head as well: the first, before those of positions or layers."""
    return next((path for path, module in known.items() if _is_embedding(module)), None)


def _refuse_magnitude(path: str, module: Any, leaf: str) -> None:
    if _is_embedding(module) and leaf.startswith("lora_magnitude"):
        raise UnsupportedError(
            f"{path} has a DoRA, whose magnitude PEFT and mlx-lm take along different axes of an embedding"
        )


def _check_tied(
    source: Path, tensors: Mapping[str, mx.array], heads: Mapping[str, mx.array], embedding: str | None
) -> None:
    """Refuse an adapter of the one matrix that is embedding and head, unless it is the same in both places.

    Args:
        tensors: under mlx-lm's names.
        heads: by PEFT's leaf, those of the head, which acts by the embedding here.
    """
    is_adapted = f"{embedding}.lora_a" in tensors
    if not is_adapted and not heads:
        return
    # Of the head [V, D], lora_A is the embedding's lora_B and lora_B its lora_A.
    pairs = {"lora_A.weight": "lora_b", "lora_B.weight": "lora_a"}
    own = {leaf: tensors[f"{embedding}.{name}"] for leaf, name in pairs.items()} if is_adapted else {}
    if heads.keys() == own.keys() and all(
        bool(mx.array_equal(heads[leaf], own[leaf]).item()) for leaf in own
    ):
        return
    where = " and ".join([*([str(embedding)] if is_adapted else []), *([_HEAD] if heads else [])])
    raise UnsupportedError(
        f"{source} adapts {where} {'apart' if is_adapted and heads else 'alone'}, and in this model embedding and head"
        " are one matrix, which mlx-lm adapts in both places",
        hint="train it with PEFT's ensure_weight_tying=True, or adapt linear layers only",
    )


def export_peft(adapter: Adapter, target: Path, model: Path) -> Path:
    """Write `adapter`, of the model in `model`, as PEFT does.

    Raises:
        UnsupportedError: PEFT's format cannot hold it.
        OutputError: `target` exists, or the disk refuses.
    """
    if adapter.config.kind == "full":
        raise UnsupportedError(
            "a full fine-tune is no PEFT adapter", hint="edgelm adapters fuse makes a model of it"
        )
    config = configs.normalise_config(configs.read_config(model))
    known = adaptable(build_network(config, model))
    embedding = _token_embedding(known) if config.get("tie_word_embeddings") else None
    tensors: dict[str, mx.array] = {}
    for path in adapter.modules:
        module = known.get(path)
        for own, value in adapter.tensors_of(path).items():
            if value.ndim == 3:
                raise UnsupportedError(f"{path} is a layer of experts, which PEFT adapts one by one")
            leaf = _peft_leaf(own, _is_embedding(module))
            _refuse_magnitude(path, module, leaf)
            tensors[f"{_PREFIX}{path}.{leaf}"] = mx.contiguous(value.T) if value.ndim == 2 else value
            if path == embedding:
                other = "B" if own == "lora_a" else "A"
                tensors[f"{_PREFIX}{_HEAD}.lora_{other}.weight"] = value
    if adapter.config.task == REWARD:
        tensors[f"{_PREFIX}{SCORE_WEIGHT}"] = read_score(adapter)
    with atomic_directory(target) as directory:
        save_tensors(directory / WEIGHTS, tensors)
        with disk_errors(directory):
            text = json.dumps(_peft_config(adapter, ties=embedding in adapter.modules), indent=2)
            (directory / CONFIG).write_text(text + "\n", encoding="utf-8")
        _manifest_of(adapter, directory).write(directory)
    return target


def _peft_leaf(own: str, is_embedding: bool) -> str:
    if own == "m":
        return "lora_magnitude_vector"
    side = own[-1].upper()
    return f"lora_embedding_{side}" if is_embedding else f"lora_{side}.weight"


def _peft_config(adapter: Adapter, *, ties: bool) -> dict[str, Any]:
    config, rank = adapter.config, rank_of(adapter.tensors)
    is_rslora = config.method == "rslora"
    return {
        "peft_type": "LORA",
        "task_type": _SCORES if config.task == REWARD else "CAUSAL_LM",
        "base_model_name_or_path": config.base,
        "r": rank,
        "lora_alpha": config.scale * (rank**0.5 if is_rslora else rank),
        "lora_dropout": config.dropout,
        "use_rslora": is_rslora,
        "use_dora": config.kind == "dora",
        # Whole paths: the adapter may be on some layers only.
        "target_modules": adapter.modules,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "modules_to_save": [_SCORE] if config.task == REWARD else None,
        "ensure_weight_tying": ties,
    }


def _manifest_of(adapter: Adapter, directory: Path) -> Manifest:
    parent = Manifest.read(adapter.directory)
    return Manifest(
        source=str(adapter.directory.absolute()),
        kind="peft",
        licence=parent.licence if parent else None,
        weights_sha256={WEIGHTS: file_sha256(directory / WEIGHTS)},
        parents=[parent_of(adapter, "exported from")],
    )
