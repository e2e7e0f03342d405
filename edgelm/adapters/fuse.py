"""Adapters built into the weights of their base: a model that needs no adapter, measured against the two together.

Rounding to the base's few bits can undo what was learnt: what an adapter changes is often smaller than a step of the
quantization. So the fused model is compared with base and adapter by KL divergence, and is refused where too much is lost;
leaving the adapted layers unquantized loses nothing.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from edgelm.adapters.base import check_base, describe_base, parent_of
from edgelm.adapters.deltas import dense_delta, dense_weight, is_embedding
from edgelm.adapters.files import Adapter, read_adapter
from edgelm.adapters.stack import check_fits
from edgelm.adapters.use import AdapterUse
from edgelm.atomic import atomic_directory, disk_errors, refuse_existing
from edgelm.errors import OptionError, UnsupportedError
from edgelm.library.identity import file_sha256
from edgelm.library.licence import licence_of
from edgelm.library.manifest import Manifest
from edgelm.machine.long_job import long_job
from edgelm.units import count
from edgelm.zoo.configs import normalise as configs
from edgelm.zoo.guards import mlx_lm_errors
from edgelm.zoo.lora import adaptable, install
from edgelm.zoo.precision.dense import dense_module
from edgelm.zoo.weights.files import weight_files
from edgelm.zoo.weights.network import load_network, save_network
from edgelm.zoo.weights.packing import with_packing

MOST_LOST = 0.25
"""Share of what was learnt that fusing may lose."""
MeasureFused = Callable[[Path, Sequence[AdapterUse], Any], tuple[float, float]]
"""(base, adapters on it, fused network) → nats of mean KL divergence from base and adapters: (of the base, of the fused)."""
_NOT_COPIED = ("config.json", "edgelm.json", "model.safetensors.index.json")


@dataclass(frozen=True)
class FuseReport:
    """What fusing did, in nats of mean KL divergence from the model with its adapters beside it."""

    directory: Path
    learnt_kl: float | None
    """KL of the base: what the adapters change. None if it was not measured."""
    lost_kl: float | None
    """KL of the fused model: what fusing changed."""
    quantized_layers: int
    """Adapted layers that were quantized again."""

    @property
    def lost_share(self) -> float | None:
        """The share of what was learnt that fusing lost; None if it was not measured."""
        if self.lost_kl is None or not self.learnt_kl:
            return None
        return self.lost_kl / self.learnt_kl


@long_job("fusing", "an adapter of a lower rank")
def fuse(
    model: Path,
    uses: Sequence[AdapterUse],
    target: Path,
    *,
    measure: MeasureFused | None,
    keep_dense: bool = False,
    force: bool = False,
) -> FuseReport:
    """Write `model` with `uses` built in to `target`.

    Args:
        measure: compares base and fused model with base and adapters, as `edgelm.evaluate.fusing` does; None fuses unmeasured.
        keep_dense: leave adapted layers unquantized; False quantizes them as they were.
        force: write it however much is lost.

    Raises:
        UnsupportedError: fusing would lose more than a quarter of what was learnt; another base; or no adapter.
        FormatError: an adapter does not fit.
        OutputError: `target` exists, or the disk refuses.
    """
    if not uses:
        raise OptionError("no adapter is given to fuse")
    refuse_existing(target)
    adapters = [(read_adapter(use.directory), use.weight) for use in uses]
    for adapter, _ in adapters:
        check_base(adapter, model)
    config = with_packing(configs.normalise_config(configs.read_config(model)), model)
    network, config = load_network(model, config)
    requantized = _fuse_into(network, adapters, config, keep_dense=keep_dense)
    learnt, lost = measure(model, uses, network) if measure else (None, None)
    report = FuseReport(target, learnt, lost, requantized)
    if not force:
        _refuse_loss(report)
    _write(model, network, config, adapters, report)
    return report


def _fuse_into(
    network: Any, adapters: Sequence[tuple[Adapter, float]], config: dict[str, Any], *, keep_dense: bool
) -> int:
    for adapter, _ in adapters:
        check_fits(adapter, network)
    full = [adapter for adapter, _ in adapters if adapter.config.kind == "full"]
    for adapter in full:
        network.load_weights(list(adapter.tensors.items()), strict=False)
    thin = [(adapter, weight) for adapter, weight in adapters if adapter.config.kind != "full"]
    modules = adaptable(network)
    fused: dict[str, Any] = {}
    requantized = 0
    for path in sorted({path for adapter, _ in thin for path in adapter.modules}):
        module = modules[path]
        was_quantized = "scales" in module
        fused[path] = _fused_module(path, module, thin, config, keep_dense=keep_dense)
        requantized += was_quantized and not keep_dense
    install(network, fused)
    return requantized


def _fused_module(
    path: str,
    module: Any,
    adapters: Sequence[tuple[Adapter, float]],
    config: dict[str, Any],
    *,
    keep_dense: bool,
) -> Any:
    base = dense_weight(module)
    found = [(adapter, weight) for adapter, weight in adapters if f"{path}.lora_a" in adapter.tensors]
    deltas = [
        dense_delta(adapter, path, base, is_embedding=is_embedding(module), weight=weight)
        for adapter, weight in found
    ]
    whole = base + sum(deltas[1:], deltas[0])
    if "scales" not in module:
        module.weight = whole.astype(module.weight.dtype)
        return module
    dense = dense_module(
        module, whole.astype(module.scales.dtype if module.mode == "affine" else mx.bfloat16)
    )
    if keep_dense:
        config.setdefault("quantization", {})[path] = False
        return dense
    return dense.to_quantized(group_size=module.group_size, bits=module.bits, mode=module.mode)


def _refuse_loss(report: FuseReport) -> None:
    share = report.lost_share
    if report.quantized_layers and share is not None and share > MOST_LOST:
        raise UnsupportedError(
            f"fusing into {count(report.quantized_layers, 'quantized layer')} would lose {share:.0%} of what was learnt"
            f" (KL {report.lost_kl:.4g} of {report.learnt_kl:.4g} nats), expected at most {MOST_LOST:.0%}",
            hint="--dequantize leaves those layers unquantized and loses nothing; --force fuses all the same",
        )


def _write(
    model: Path,
    network: Any,
    config: dict[str, Any],
    adapters: Sequence[tuple[Adapter, float]],
    report: FuseReport,
) -> None:
    with atomic_directory(report.directory) as partial:
        with disk_errors(partial), mlx_lm_errors(partial):
            save_network(partial, network)
            _copy_rest(model, partial)
            config.pop("transformers_weights", None)  # the name of a file that is not copied
            if "quantization" in config:
                config["quantization_config"] = config["quantization"]
            text = json.dumps(config, indent=2, ensure_ascii=False)
            (partial / "config.json").write_text(text + "\n", encoding="utf-8")
        _manifest(model, partial, adapters, report).write(partial)


def _copy_rest(model: Path, target: Path) -> None:
    for path in model.iterdir():
        if (
            path.is_file()
            and not path.name.startswith(".")
            and path.suffix != ".safetensors"
            and path.name not in _NOT_COPIED
        ):
            shutil.copyfile(path, target / path.name)
    templates = model / "additional_chat_templates"
    if templates.is_dir():
        shutil.copytree(templates, target / templates.name, ignore=shutil.ignore_patterns(".*"))


def _manifest(
    model: Path, directory: Path, adapters: Sequence[tuple[Adapter, float]], report: FuseReport
) -> Manifest:
    base = Manifest.read(model)
    files = weight_files(directory)
    parents = [describe_base(model).as_parent()]
    parents += [parent_of(adapter, "adapter", weight=weight) for adapter, weight in adapters]
    return Manifest(
        source=str(model.absolute()),
        kind="fused",
        weights_sha256={path.name: file_sha256(path) for path in files},
        licence=licence_of(model),
        recipe=base.recipe if base else {},
        size_bytes=sum(path.stat().st_size for path in files),
        receipt={"fuse": {**dataclasses.asdict(report), "directory": None}},
        parents=parents,
    )
