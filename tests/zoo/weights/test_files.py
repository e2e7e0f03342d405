"""The weights of a folder are those that transformers loads from it, in whatever company they lie."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
import torch
import transformers
from checkpoints import write_checkpoint

from edgelm.errors import EdgeLMError, FormatError, NotFoundError, UnsafeError
from edgelm.library.identity import weights_identity
from edgelm.library.models import describe
from edgelm.model.load import load
from edgelm.zoo.weights.bits import measure_bits_per_weight
from edgelm.zoo.weights.files import read_headers, stored_tensors, weight_files
from edgelm.zoo.weights.fingerprint import fingerprint
from edgelm_converters.convert import convert

INDEX = "model.safetensors.index.json"
IDS = [5, 6, 7, 8, 9]


@pytest.fixture(scope="module")
def saves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same small model saved whole ("whole") and in shards ("shards"), and another in more shards ("other")."""
    root = tmp_path_factory.mktemp("saves")
    write_checkpoint(root / "whole", num_hidden_layers=2)
    write_checkpoint(root / "shards", shard="100KB", num_hidden_layers=2)
    write_checkpoint(root / "other", shard="60KB", num_hidden_layers=2)
    for path in (root / "other").glob("*.safetensors"):
        tensors = {name: value + 1 for name, value in mx.load(str(path)).items()}  # type: ignore[union-attr]
        mx.eval(tensors)
        mx.save_safetensors(str(path), tensors, {"format": "pt"})
    return root


@pytest.fixture
def folder(saves: Path, tmp_path: Path) -> Callable[..., Path]:
    """A new folder with the files of the named saves, the last one's winning."""

    def make(*names: str) -> Path:
        for name in names:
            shutil.copytree(saves / name, tmp_path / "model", dirs_exist_ok=True)
        return tmp_path / "model"

    return make


def of_transformers(directory: Path) -> np.ndarray:
    network = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    with torch.no_grad():
        return network(torch.tensor([IDS])).logits[0].numpy()


def assert_same_as_transformers(directory: Path, tmp_path: Path) -> None:
    """Loaded as it is, and converted."""
    expected = of_transformers(directory)
    made = convert(directory, tmp_path / "made", mode="none", dtype="float32", verify=False).directory
    for place in (directory, made):
        got = np.array(load(place, check_fit=False).network(mx.array([IDS]))[0])
        assert np.abs(got - expected).max() < 1e-4


def two_saves(folder: Callable[..., Path]) -> Path:
    return folder("other", "shards")


def single_beside_shards(folder: Callable[..., Path]) -> Path:
    directory = folder("other", "whole")
    (directory / INDEX).unlink()
    return directory


def stale_index_beside_single(folder: Callable[..., Path]) -> Path:
    directory = folder("whole")
    (directory / INDEX).write_text(json.dumps({"weight_map": {"x": "model-00001-of-00009.safetensors"}}))
    return directory


def named_by_the_config(folder: Callable[..., Path]) -> Path:
    directory = folder("other", "whole")
    (directory / "model.safetensors").rename(directory / "chosen.safetensors")
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(
        json.dumps({**config, "transformers_weights": "chosen.safetensors"})
    )
    return directory


def stray_variant(folder: Callable[..., Path]) -> Path:
    directory = folder("shards")
    shutil.copy(directory / "model-00001-of-00005.safetensors", directory / "model.fp16.safetensors")
    (directory / "model-00001-of-00007.safetensors").write_bytes(b"cut short")
    return directory


def apple_double(folder: Callable[..., Path]) -> Path:
    directory = folder("shards")
    for path in list(directory.iterdir()):
        (directory / f"._{path.name}").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    return directory


def bracketed(folder: Callable[..., Path]) -> Path:
    directory = folder("shards")
    return directory.rename(directory.with_name("a[b]*?{c}"))


@pytest.mark.parity
@pytest.mark.parametrize(
    "arrange",
    [
        two_saves, single_beside_shards, stale_index_beside_single, named_by_the_config, stray_variant,
        apple_double, bracketed,
    ],
)  # fmt: skip
def test_what_transformers_loads_is_what_counts(
    arrange: Callable[..., Path], folder: Callable[..., Path], tmp_path: Path
) -> None:
    directory = arrange(folder)
    assert_same_as_transformers(directory, tmp_path)


def test_everything_that_looks_at_weights_sees_the_same_ones(
    folder: Callable[..., Path], saves: Path
) -> None:
    mixed, alone = two_saves(folder), saves / "shards"
    files = [path.name for path in weight_files(alone)]
    assert [path.name for path in weight_files(mixed)] == files
    assert len(list(mixed.glob("*.safetensors"))) > len(files) > 2
    assert read_headers(mixed) == read_headers(alone)
    assert fingerprint(mixed) == fingerprint(alone)
    assert weights_identity(mixed) == weights_identity(alone)
    assert measure_bits_per_weight(mixed, {}) == measure_bits_per_weight(alone, {}) == 32
    assert describe(mixed).size_bytes == describe(alone).size_bytes


def test_shards_that_the_index_names_and_that_are_missing_are_named(folder: Callable[..., Path]) -> None:
    directory = folder("shards")
    for number in (2, 3):
        (directory / f"model-0000{number}-of-00005.safetensors").unlink()
    for reader in (weight_files, load, convert):
        with pytest.raises(FormatError, match=r"lacks 2 of its 5 .*00002-of-00005.*, .*00003-of-00005"):
            reader(directory)


@pytest.mark.parametrize("name", ["../secret.safetensors", "sub/model.safetensors", "/etc/passwd", "..", ""])
def test_an_index_names_files_beside_it(name: str, folder: Callable[..., Path]) -> None:
    directory = folder("shards")
    index = json.loads((directory / INDEX).read_text())
    index["weight_map"]["model.norm.weight"] = name
    (directory / INDEX).write_text(json.dumps(index))
    for reader in (weight_files, load, convert):
        with pytest.raises(UnsafeError, match="expected a file beside it"):
            reader(directory)


@pytest.mark.parametrize("said", [{}, {"weight_map": {}}, {"weight_map": {"a": 1}}, {"weight_map": ["a"]}])
def test_an_index_that_is_none(said: object, folder: Callable[..., Path]) -> None:
    directory = folder("shards")
    (directory / INDEX).write_text(json.dumps(said))
    with pytest.raises(FormatError, match="weight_map"):
        weight_files(directory)


def test_a_tensor_that_two_shards_hold_is_the_one_that_the_index_places(folder: Callable[..., Path]) -> None:
    directory = folder("shards")
    index = json.loads((directory / INDEX).read_text())["weight_map"]
    name = "model.norm.weight"
    last = max(set(index.values()) - {index[name]})
    for first in (index[name], last):
        tensors = dict(mx.load(str(directory / last)))  # type: ignore[arg-type]
        mx.eval(tensors)
        tensors[name] = mx.zeros(64)
        mx.save_safetensors(str(directory / last), tensors, {"format": "pt"})
        (directory / INDEX).write_text(json.dumps({"weight_map": {**index, name: first}}))
        assert stored_tensors(directory)[name].path.name == first


SHARD = "model-00001-of-00005.safetensors"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda d: None, None, ""),
        (lambda d: (d / "model-00003-of-00005.safetensors").unlink(), FormatError, "lacks 1 of its 5"),
        (lambda d: shutil.copy(d / SHARD, d / "model-00001-of-00002.safetensors"), FormatError, "several sets"),
        (lambda d: shutil.copy(d / SHARD, d / "model.fp16.safetensors"), FormatError, "several sets"),
        (lambda d: (d / "pytorch_model.bin").write_bytes(b"x"), NotFoundError, "weights of PyTorch"),
    ],
)  # fmt: skip
def test_shards_without_an_index_count_as_one_whole_set(
    change: Callable[[Path], object],
    error: type[EdgeLMError] | None,
    message: str,
    folder: Callable[..., Path],
    saves: Path,
) -> None:
    directory = folder("shards")
    (directory / INDEX).unlink()
    change(directory)
    if error is None:
        assert stored_tensors(directory).keys() == stored_tensors(saves / "shards").keys()
    else:
        with pytest.raises(error, match=message):
            weight_files(directory)


def test_a_pytorch_index_decides_too(tmp_path: Path, saves: Path) -> None:
    from edgelm_converters.sources.pytorch.checkpoint import open_pytorch

    shutil.copytree(saves / "whole", tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    names = {f"pytorch_model-0000{n}-of-00002.bin": {f"w{n}": torch.full((2,), float(n))} for n in (1, 2)}
    strays = {f"pytorch_model-0000{n}-of-00003.bin": {f"w{n}": torch.zeros(2)} for n in (1, 2, 3)}
    for name, tensors in {**names, **strays}.items():
        torch.save(tensors, tmp_path / "model" / name)
    (tmp_path / "model" / "._pytorch_model-00001-of-00002.bin").write_bytes(b"\0\5\x16\7")
    index = {
        "weight_map": {"w1": "pytorch_model-00001-of-00002.bin", "w2": "pytorch_model-00002-of-00002.bin"}
    }
    (tmp_path / "model" / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    found = open_pytorch(tmp_path / "model").tensors
    assert {name: tensor.read().tolist() for name, tensor in found.items()} == {"w1": [1, 1], "w2": [2, 2]}
