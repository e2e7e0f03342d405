"""Fused models compute what base and adapter compute; what rounding would undo is refused; merges are what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from checkpoints import VOCAB, write_checkpoint

from edgelm import paths
from edgelm.adapters.base import describe_base
from edgelm.adapters.deltas import factors
from edgelm.adapters.export import export_adapter
from edgelm.adapters.files import Adapter, read_adapter
from edgelm.adapters.fuse import fuse
from edgelm.adapters.merge import merge
from edgelm.adapters.merge_settings import MergeSettings
from edgelm.adapters.use import AdapterUse
from edgelm.cli.main import main
from edgelm.errors import EdgeLMError, OptionError, UnsupportedError
from edgelm.evaluate.fusing import FusedMeasure
from edgelm.evaluate.rows import Measuring
from edgelm.library.identity import weights_identity
from edgelm.library.lineage import lineage, lines
from edgelm.library.manifest import Manifest
from edgelm.model.load import load
from edgelm.tune.settings import MethodSettings
from edgelm.tune.step.methods import make_trainable
from edgelm.zoo.tree import flat_trainable
from edgelm_converters.convert import convert

IDS = mx.random.randint(4, VOCAB, (1, 24), key=mx.random.key(1))
MEASURE = FusedMeasure(Measuring(tokens=512, length=64))


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("fuse")
    write_checkpoint(directory / "source")
    return convert(
        directory / "source", directory / "dense", mode="none", dtype="float32", verify=False
    ).directory


@pytest.fixture(scope="module")
def packed(dense: Path) -> Path:
    return convert(
        dense, dense.with_name("packed"), quality="rtn", bits=4, group_size=32, verify=False
    ).directory


def adapter(model: Path, directory: Path, *, size: float = 0.1, seed: int = 0, **settings: Any) -> Adapter:
    """A random adapter of `model`; `size` is how much it changes."""
    loaded = load(model, check_fit=False)
    said = MethodSettings(**{"rank": 4, **settings})
    mx.random.seed(seed)
    make_trainable(loaded.network, said)
    flat = {
        name: value + size * mx.random.normal(value.shape)
        for name, value in flat_trainable(loaded.network).items()
    }
    export_adapter(directory, flat, said, describe_base(model), {})
    return read_adapter(directory)


def logits(model: Path, *uses: AdapterUse) -> mx.array:
    found: mx.array = load(model, adapter=uses, check_fit=False).network(IDS)
    return found


def difference(left: mx.array, right: mx.array) -> float:
    value: Any = mx.abs(left - right).max().item()
    return float(value)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"method": "dora"}, {"targets": ("linear", "embeddings", "head")}])
def test_a_fused_dense_model_computes_what_base_and_adapter_compute(
    settings: dict[str, Any], dense: Path, tmp_path: Path
) -> None:
    made = adapter(dense, tmp_path / "adapter", **settings)
    use = AdapterUse(made.directory, 0.5)
    report = fuse(dense, [use], tmp_path / "fused", measure=MEASURE)
    assert difference(logits(tmp_path / "fused"), logits(dense, use)) < 1e-3
    assert difference(logits(tmp_path / "fused"), logits(dense)) > 0.1
    assert report.learnt_kl is not None
    assert report.learnt_kl > 0.001
    assert report.lost_kl == pytest.approx(0, abs=1e-5)


@pytest.mark.slow
def test_several_adapters_are_fused_with_their_weights(dense: Path, tmp_path: Path) -> None:
    uses = [AdapterUse(adapter(dense, tmp_path / str(n), seed=n).directory, 0.5 + n) for n in range(2)]
    fuse(dense, uses, tmp_path / "fused", measure=None)
    assert difference(logits(tmp_path / "fused"), logits(dense, *uses)) < 1e-3


@pytest.mark.slow
def test_what_four_bits_would_undo_is_refused_and_dequantizing_keeps_it(packed: Path, tmp_path: Path) -> None:
    """The adapter changes far less than a step of the quantization."""
    made = adapter(packed, tmp_path / "adapter", size=0.02)
    uses = [AdapterUse(made.directory)]
    with pytest.raises(UnsupportedError, match="of what was learnt") as caught:
        fuse(packed, uses, tmp_path / "fused", measure=MEASURE)
    assert "--dequantize" in (caught.value.hint or "")
    assert not (tmp_path / "fused").exists()
    report = fuse(packed, uses, tmp_path / "fused", keep_dense=True, measure=MEASURE)
    assert report.lost_share is not None
    assert report.lost_share < 0.02
    assert difference(logits(tmp_path / "fused"), logits(packed, *uses)) < 0.05
    config = json.loads((tmp_path / "fused" / "config.json").read_text())
    assert config["quantization"]["model.layers.0.self_attn.q_proj"] is False
    assert isinstance(config["quantization"]["bits"], int)


@pytest.mark.slow
def test_a_fused_model_is_one_that_stock_mlx_lm_loads(packed: Path, tmp_path: Path) -> None:
    from mlx_lm import load as stock_load

    made = adapter(packed, tmp_path / "adapter")
    fuse(packed, [AdapterUse(made.directory)], tmp_path / "fused", measure=None, force=True)
    network, _ = stock_load(str(tmp_path / "fused"))[:2]
    stock, ours = network(IDS).astype(mx.float32), logits(tmp_path / "fused")  # stock runs in bfloat16
    assert (mx.linalg.norm(stock - ours) / mx.linalg.norm(ours)).item() < 0.1


def test_an_adapter_of_another_base_is_not_fused(dense: Path, packed: Path, tmp_path: Path) -> None:
    made = adapter(dense, tmp_path / "adapter")
    with pytest.raises(UnsupportedError, match="was trained on"):
        fuse(packed, [AdapterUse(made.directory)], tmp_path / "fused", measure=MEASURE)


@pytest.mark.slow
def test_lineage_goes_from_a_fused_model_to_what_was_published(
    dense: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths.models().mkdir(parents=True)
    base = convert(dense, paths.models() / "base", mode="none", dtype="float32", verify=False).directory
    adapter(base, paths.adapters() / "one")
    adapter(base, paths.adapters() / "two", seed=2)
    assert main(["adapters", "merge", "one=0.7", "two", "--name", "both"]) == 0
    assert main(["adapters", "fuse", "base", "both", "--name", "fused", "--no-check"]) == 0
    tree = lineage(paths.models() / "fused")
    assert [(parent.relation, parent.name, parent.is_here) for parent in tree.parents] == [
        ("base", "base", True), ("adapter", "both", True),
    ]  # fmt: skip
    merged = tree.parents[1]
    assert [(parent.relation, parent.name) for parent in merged.parents] == [
        ("merged from", "one"), ("merged from", "two"),
    ]  # fmt: skip
    assert merged.parents[0].parents[0].sha256 == weights_identity(base)
    capsys.readouterr()
    assert main(["models", "info", "fused"]) == 0
    assert "│  ├─" in "\n".join(lines(tree)) or "   ├─" in "\n".join(lines(tree))
    assert "merged from: one" in capsys.readouterr().out


def delta(made: Adapter, path: str) -> mx.array:
    return factors(made, path).product


def pairs(dense: Path, tmp_path: Path) -> list[tuple[Adapter, float]]:
    return [(adapter(dense, tmp_path / str(n), seed=n, targets=("attention",)), 1.0 + n) for n in range(2)]


def test_concatenation_is_the_weighted_sum_to_the_bit_of_rounding(dense: Path, tmp_path: Path) -> None:
    both = pairs(dense, tmp_path)
    report = merge(both, tmp_path / "merged", MergeSettings(method="concat"))
    assert (report.rank, report.left_out) == (8, pytest.approx(0, abs=1e-6))
    uses = [AdapterUse(made.directory, weight) for made, weight in both]
    assert difference(logits(dense, AdapterUse(tmp_path / "merged")), logits(dense, *uses)) < 1e-4


def test_adapters_on_different_modules_are_merged_too(dense: Path, tmp_path: Path) -> None:
    one = adapter(dense, tmp_path / "one", targets=("*.q_proj",))
    two = adapter(dense, tmp_path / "two", targets=("mlp",), rank=2)
    merge([(one, 1.0), (two, 0.5)], tmp_path / "merged", MergeSettings())
    uses = [AdapterUse(one.directory), AdapterUse(two.directory, 0.5)]
    assert difference(logits(dense, AdapterUse(tmp_path / "merged")), logits(dense, *uses)) < 1e-4


def test_linear_is_the_weighted_mean_and_says_what_its_rank_leaves_out(dense: Path, tmp_path: Path) -> None:
    (one, _), (two, _) = both = pairs(dense, tmp_path)
    path = one.modules[0]
    mean = (delta(one, path) + 2 * delta(two, path)) / 3
    whole = merge(both, tmp_path / "whole", MergeSettings(method="linear", rank=8))
    assert whole.left_out == pytest.approx(0, abs=1e-4)
    assert difference(delta(read_adapter(tmp_path / "whole"), path), mean) < 1e-4
    small = merge(both, tmp_path / "small", MergeSettings(method="linear"))
    assert small.rank == 4
    assert 0.01 < small.left_out < 0.6
    with mx.stream(mx.cpu):
        left, values, right = mx.linalg.svd(mean)
    best = (left[:, :4] * values[:4]) @ right[:4]
    assert difference(delta(read_adapter(tmp_path / "small"), path), best) < 2e-3


def test_ties_keeps_what_agrees_in_sign(dense: Path, tmp_path: Path) -> None:
    """Against the paper's three steps, written out with numpy."""
    import numpy as np

    (one, _), (two, _) = pairs(dense, tmp_path)
    path = one.modules[0]
    merge([(one, 1.0), (two, 1.0)], tmp_path / "merged", MergeSettings(method="ties", density=0.3, rank=64))
    kept = []
    for made in (one, two):
        values = np.array(delta(made, path))
        least = np.sort(np.abs(values).ravel())[values.size - round(0.3 * values.size)]
        kept.append(np.where(np.abs(values) >= least, values, 0))
    sign = np.sign(kept[0] + kept[1])
    agree = [np.where(np.sign(values) == sign, values, 0) for values in kept]
    count = sum((values != 0).astype(int) for values in agree)
    expected = sum(agree) / np.maximum(count, 1)
    assert difference(delta(read_adapter(tmp_path / "merged"), path), mx.array(expected)) < 1e-4


def test_dare_is_seeded_and_right_on_average(dense: Path, tmp_path: Path) -> None:
    (one, _), (two, _) = both = pairs(dense, tmp_path)
    path = one.modules[0]
    mean = (delta(one, path) + 2 * delta(two, path)) / 3
    found = []
    for seed in (1, 1, 2):
        target = tmp_path / f"merged{len(found)}"
        merge(both, target, MergeSettings(method="dare", density=0.5, rank=64, seed=seed))
        found.append(delta(read_adapter(target), path))
    assert mx.array_equal(found[0], found[1])
    assert difference(found[0], found[2]) > 1e-3
    slope = ((found[0] + found[2]) / 2 * mean).sum() / mean.square().sum()
    assert slope.item() == pytest.approx(1, abs=0.1)


def test_slerp_keeps_the_length_between_equals(dense: Path, tmp_path: Path) -> None:
    (one, _), (two, _) = pairs(dense, tmp_path)
    merge([(one, 1.0), (two, 1.0)], tmp_path / "merged", MergeSettings(method="slerp"))
    path = one.modules[0]
    norm = [
        mx.linalg.norm(delta(made, path)).item() for made in (one, two, read_adapter(tmp_path / "merged"))
    ]
    assert min(norm[:2]) * 0.95 < norm[2] < max(norm[:2]) * 1.05
    linear = mx.linalg.norm((delta(one, path) + delta(two, path)) / 2).item()
    assert linear < 0.9 * norm[2]


@pytest.mark.parametrize("count", [1, 3])
def test_slerp_is_of_two(count: int, dense: Path, tmp_path: Path) -> None:
    made = [(adapter(dense, tmp_path / str(n), seed=n), 1.0) for n in range(count)]
    with pytest.raises(OptionError, match=rf"{count} adapters? (is|are) given, expected 2"):
        merge(made, tmp_path / "merged", MergeSettings(method="slerp"))


@pytest.mark.slow
def test_doras_and_adapters_of_different_bases_are_not_merged(
    dense: Path, packed: Path, tmp_path: Path
) -> None:
    one, other = adapter(dense, tmp_path / "one"), adapter(packed, tmp_path / "other")
    dora = adapter(dense, tmp_path / "dora", method="dora")
    for second, words in ((other, "different bases"), (dora, "only LoRA adapters are merged")):
        with pytest.raises(EdgeLMError, match=words):
            merge([(one, 1.0), (second, 1.0)], tmp_path / "merged", MergeSettings())


def test_manifests_name_their_parents(dense: Path, tmp_path: Path) -> None:
    made = adapter(dense, tmp_path / "adapter")
    said = Manifest.read(made.directory)
    assert said is not None
    assert said.parents[0]["sha256"] == weights_identity(dense)
    assert said.kind == "adapter"
