"""Several LoRA adapters of one base made into one.

    concat   the weighted sum, exactly: ranks are put side by side
    linear   the weighted mean, at the rank asked for (truncated SVD)
    ties     Yadav et al. 2023 (arXiv:2306.01708): trim, elect signs, mean of those that agree
    dare     Yu et al. 2023 (arXiv:2311.03099): drop a share at random, rescale the rest, weighted mean
    slerp    two adapters, along the arc between them

All but concat and slerp give a dense change of each weight, which is brought back to a rank by a truncated SVD; what that
leaves out is measured and said.

Shapes: I inputs, O outputs, R rank.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from edgelm.adapters.base import parent_of
from edgelm.adapters.deltas import LowRankDelta, factors
from edgelm.adapters.files import Adapter, AdapterConfig, write_adapter
from edgelm.adapters.merge_settings import MergeSettings
from edgelm.adapters.uniform import rank_of, uniform
from edgelm.atomic import atomic_directory
from edgelm.errors import OptionError, UnsupportedError
from edgelm.library.manifest import Manifest
from edgelm.machine.long_job import long_job
from edgelm.units import count

_OVERSAMPLED = 16
_POWER_ITERATIONS = 2


@dataclass(frozen=True)
class MergeReport:
    """What came out."""

    directory: Path
    rank: int
    left_out: float
    """Share of the merged change (of its squared norm) that did not fit into the rank."""


@long_job("merging", "adapters of lower ranks")
def merge(adapters: Sequence[tuple[Adapter, float]], target: Path, settings: MergeSettings) -> MergeReport:
    """Write the merge of (adapter, weight) pairs to `target`.

    Raises:
        OptionError: too few adapters, or slerp of more than two.
        UnsupportedError: adapters of different bases, or not all LoRA.
        OutputError: `target` exists, or the disk refuses.
    """
    _check(adapters, settings)
    mx.random.seed(settings.seed)
    tensors: dict[str, mx.array] = {}
    kept = total = 0.0
    for path in sorted({path for adapter, _ in adapters for path in adapter.modules}):
        parts = [
            factors(adapter, path, 1.0) for adapter, _ in adapters if f"{path}.lora_a" in adapter.tensors
        ]
        weights = [weight for adapter, weight in adapters if f"{path}.lora_a" in adapter.tensors]
        found, whole = _merge_module(parts, weights, settings, math.fsum(weight for _, weight in adapters))
        mx.eval(found.left, found.right)
        kept, total = kept + _square(found), total + whole
        tensors |= _tensors(path, found)
    even = uniform(tensors, lambda _: 1.0, 1.0)
    _write(adapters, target, settings, even)
    return MergeReport(target, rank_of(even), max(0.0, 1 - kept / total) if total else 0.0)


def _check(adapters: Sequence[tuple[Adapter, float]], settings: MergeSettings) -> None:
    if len(adapters) < 2 or (settings.method == "slerp" and len(adapters) != 2):
        wanted = "2" if settings.method == "slerp" else "2 or more"
        raise OptionError(
            f"{count(len(adapters), 'adapter')} {'is' if len(adapters) == 1 else 'are'} given,"
            f" expected {wanted} for {settings.method}"
        )
    for adapter, _ in adapters:
        if adapter.config.kind != "lora":
            raise UnsupportedError(
                f"{adapter.name} is {adapter.config.kind}, and only LoRA adapters are merged",
                hint="edgelm adapters fuse builds it into its base",
            )
    bases = {adapter.config.base_sha256: adapter.name for adapter, _ in adapters}
    if len(bases) > 1:
        raise UnsupportedError(f"{' and '.join(bases.values())} were trained on different bases")


def _merge_module(
    parts: Sequence[LowRankDelta], weights: Sequence[float], settings: MergeSettings, total: float
) -> tuple[LowRankDelta, float]:
    """The merged factors, and the squared norm of what they stand for."""
    if settings.method == "slerp" and len(parts) == 2:
        weights = _slerp_weights(parts, weights)
    elif settings.method not in ("concat", "slerp"):
        weights = [weight / total for weight in weights]
    if settings.method in ("ties", "dare"):
        dense = _combined([part.product for part in parts], weights, settings)
        rank = settings.rank or max(part.left.shape[-1] for part in parts)
        return _truncated(dense, rank), _number(dense.square().sum())
    found = _concatenated(parts, weights)
    whole = _square(found)
    rank = settings.rank or (
        0 if settings.method in ("concat", "slerp") else max(p.left.shape[-1] for p in parts)
    )
    if rank and rank < found.left.shape[-1]:
        found = _truncated(found.product, rank)
    return found, whole


def _concatenated(parts: Sequence[LowRankDelta], weights: Sequence[float]) -> LowRankDelta:
    left = mx.concatenate([part.left for part in parts], axis=-1)
    right = mx.concatenate(
        [part.right * weight for part, weight in zip(parts, weights, strict=True)], axis=-2
    )
    return LowRankDelta(left, right)


def _slerp_weights(parts: Sequence[LowRankDelta], weights: Sequence[float]) -> list[float]:
    """Shoemake 1985: sin((1-t)φ)/sin φ and sin(tφ)/sin φ, with t the second one's share of the weights."""
    share = weights[1] / (weights[0] + weights[1])
    cosine = _inner(*parts) / math.sqrt(max(_square(parts[0]) * _square(parts[1]), 1e-30))
    angle = math.acos(max(-1.0, min(1.0, cosine)))
    if math.sin(angle) < 1e-4:  # (nearly) parallel: a straight line
        return [1 - share, share]
    return [math.sin((1 - share) * angle) / math.sin(angle), math.sin(share * angle) / math.sin(angle)]


def _combined(deltas: Sequence[mx.array], weights: Sequence[float], settings: MergeSettings) -> mx.array:
    if settings.method == "dare":
        kept = [mx.random.bernoulli(settings.density, delta.shape) for delta in deltas]
        thinned = [
            mx.where(mask, delta, 0) * (weight / settings.density)
            for mask, delta, weight in zip(kept, deltas, weights, strict=True)
        ]
        return sum(thinned[1:], thinned[0])
    trimmed = [
        _trimmed(delta, settings.density) * weight for delta, weight in zip(deltas, weights, strict=True)
    ]
    sign = mx.sign(sum(trimmed[1:], trimmed[0]))
    agreeing = [mx.where(mx.sign(delta) == sign, delta, 0) for delta in trimmed]
    share = sum(
        (mx.where(part != 0, weight, 0.0) for part, weight in zip(agreeing, weights, strict=True)),
        mx.array(0.0),
    )
    return sum(agreeing[1:], agreeing[0]) / mx.maximum(share, 1e-12)


def _trimmed(delta: mx.array, density: float) -> mx.array:
    """The largest entries only."""
    count = max(1, round(density * delta.size))
    magnitudes = mx.abs(delta).reshape(-1)
    least = mx.sort(magnitudes)[delta.size - count]
    return mx.where(mx.abs(delta) >= least, delta, 0)


def _truncated(dense: mx.array, rank: int) -> LowRankDelta:
    """The best factors of a rank, by a randomized SVD: Halko et al. 2011 (arXiv:0909.4061)."""
    if dense.ndim == 3:
        each = [_truncated(dense[index], rank) for index in range(dense.shape[0])]
        return LowRankDelta(mx.stack([part.left for part in each]), mx.stack([part.right for part in each]))
    rank = min(rank, *dense.shape)
    width = min(rank + _OVERSAMPLED, *dense.shape)
    with mx.stream(mx.cpu):  # MLX's QR and SVD run there only
        basis, _ = mx.linalg.qr(dense @ mx.random.normal((dense.shape[1], width)))
        for _ in range(_POWER_ITERATIONS):
            other, _ = mx.linalg.qr(dense.T @ basis)
            basis, _ = mx.linalg.qr(dense @ other)
        left, values, right = mx.linalg.svd(basis.T @ dense)
    root = mx.sqrt(values[:rank])
    return LowRankDelta(basis @ left[:, :rank] * root, root[:, None] * right[:rank])


def _inner(one: LowRankDelta, other: LowRankDelta) -> float:
    return _number(
        ((one.left.swapaxes(-1, -2) @ other.left) * (one.right @ other.right.swapaxes(-1, -2))).sum()
    )


def _square(part: LowRankDelta) -> float:
    return _inner(part, part)


def _tensors(path: str, found: LowRankDelta) -> dict[str, mx.array]:
    left, right = found.left, found.right
    if left.ndim == 3:
        left, right = left.swapaxes(-1, -2), right.swapaxes(-1, -2)
    return {f"{path}.lora_a": mx.contiguous(left), f"{path}.lora_b": mx.contiguous(right)}


def _write(
    adapters: Sequence[tuple[Adapter, float]],
    target: Path,
    settings: MergeSettings,
    tensors: dict[str, mx.array],
) -> None:
    first = adapters[0][0]
    known = Manifest.read(first.directory)
    config = AdapterConfig(
        kind="lora",
        rank=rank_of(tensors),
        scale=1.0,
        method="lora",
        alpha=float(rank_of(tensors)),
        base_sha256=first.config.base_sha256,
        base=first.config.base,
        num_layers=first.config.num_layers,
    )
    parents = [parent_of(adapter, "merged from", weight=weight) for adapter, weight in adapters]
    manifest = Manifest(
        source=str(first.directory.absolute()),
        kind="adapter",
        licence=known.licence if known else None,
        recipe={"merge": settings.method, "rank": config.rank, "density": settings.density},
        parents=parents,
    )
    with atomic_directory(target) as directory:
        write_adapter(directory, config, tensors, manifest)


def _number(array: mx.array) -> float:
    value: Any = array.item()
    return float(value)
