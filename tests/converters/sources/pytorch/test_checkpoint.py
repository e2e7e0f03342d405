"""A Hugging Face directory of .bin files is the checkpoint that transformers wrote."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelm.errors import FormatError, NotFoundError, UnsafeError
from edgelm_converters.sources.pytorch.checkpoint import open_pytorch
from edgelm_converters.sources.recognise import open_path

CONFIG = {"model_type": "llama", "hidden_size": 8}


@pytest.fixture
def state(torch: Any) -> dict[str, Any]:
    torch.manual_seed(3)
    return {f"layers.{i}.weight": torch.randn(4, 3, dtype=torch.float16) for i in range(5)}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    where = tmp_path / "model"
    where.mkdir()
    (where / "config.json").write_text(json.dumps(CONFIG))
    return where


@pytest.fixture
def sharded(torch: Any, directory: Path, state: dict[str, Any]) -> Path:
    """Two shards and their index."""
    names = sorted(state)
    parts = {"pytorch_model-00001-of-00002.bin": names[:2], "pytorch_model-00002-of-00002.bin": names[2:]}
    for file, held in parts.items():
        torch.save({name: state[name] for name in held}, directory / file)
    index = {"metadata": {}, "weight_map": {name: file for file, held in parts.items() for name in held}}
    (directory / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return directory


def edit_index(directory: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    path = directory / "pytorch_model.bin.index.json"
    index = json.loads(path.read_text())
    edit(index)
    path.write_text(json.dumps(index))


def check(directory: Path, state: dict[str, Any]) -> None:
    checkpoint = open_pytorch(directory)
    assert checkpoint.tensors.keys() == state.keys()
    for name, lazy in checkpoint.tensors.items():
        np.testing.assert_array_equal(np.array(lazy.read()), state[name].numpy())


def test_one_file(torch: Any, directory: Path, state: dict[str, Any]) -> None:
    torch.save(state, directory / "pytorch_model.bin")
    (directory / "generation_config.json").write_text('{"temperature": 0.6}')
    check(directory, state)
    checkpoint = open_path(directory)
    assert checkpoint.config == CONFIG
    assert checkpoint.generation_config == {"temperature": 0.6}
    assert checkpoint.origin.kind == "pytorch"
    assert checkpoint.origin.files == (directory / "pytorch_model.bin",)


def test_shards_with_their_index_or_without(sharded: Path, state: dict[str, Any]) -> None:
    check(sharded, state)
    assert len(open_pytorch(sharded).origin.files) == 2
    assert open_pytorch(sharded).generation_config is None
    (sharded / "pytorch_model.bin.index.json").unlink()
    check(sharded, state)


def test_the_index_decides_where_a_tensor_is(torch: Any, sharded: Path, state: dict[str, Any]) -> None:
    shard = sharded / "pytorch_model-00002-of-00002.bin"
    stale = {**torch.load(shard), "layers.0.weight": torch.zeros(1)}
    torch.save(stale, shard)
    check(sharded, state)
    (sharded / "pytorch_model.bin.index.json").unlink()
    with pytest.raises(FormatError, match=r"'layers.0.weight' is in .*00002.* and in another"):
        open_pytorch(sharded)


@pytest.mark.slow
def test_what_transformers_saved_is_read(torch: Any, directory: Path) -> None:
    import transformers

    config = transformers.GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=11, n_positions=16)
    model = transformers.GPT2LMHeadModel(config)
    torch.save(model.state_dict(), directory / "pytorch_model.bin")
    tensors = open_pytorch(directory).tensors
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(np.array(tensors[name].read()), value.numpy())


@pytest.mark.parametrize("with_index", [True, False])
def test_a_missing_shard_is_named(sharded: Path, with_index: bool) -> None:
    (sharded / "pytorch_model-00002-of-00002.bin").unlink()
    if not with_index:
        (sharded / "pytorch_model.bin.index.json").unlink()
    with pytest.raises(
        FormatError, match=r"lacks 1 of its 2 weight files: pytorch_model-00002-of-00002\.bin"
    ):
        open_pytorch(sharded)


def test_shards_of_two_sets_are_refused(sharded: Path) -> None:
    (sharded / "pytorch_model.bin.index.json").unlink()
    shutil.copy(sharded / "pytorch_model-00001-of-00002.bin", sharded / "pytorch_model-00001-of-00003.bin")
    with pytest.raises(FormatError, match=r"several sets.*-of-00002\.bin, .*-of-00003\.bin"):
        open_pytorch(sharded)


def test_a_tensor_that_only_the_index_has_is_named(sharded: Path) -> None:
    edit_index(sharded, lambda index: index["weight_map"].update(ghost="pytorch_model-00001-of-00002.bin"))
    with pytest.raises(FormatError, match="lack: 'ghost'"):
        open_pytorch(sharded)


def test_a_broken_index_is_refused(sharded: Path) -> None:
    edit_index(sharded, lambda index: index["weight_map"].update({"layers.0.weight": "../elsewhere.bin"}))
    with pytest.raises(UnsafeError, match=r"'../elsewhere.bin'"):
        open_pytorch(sharded)
    edit_index(sharded, lambda index: index.update(weight_map={}))
    with pytest.raises(FormatError, match="no weight_map"):
        open_pytorch(sharded)
    edit_index(sharded, lambda index: index.update(weight_map={"a": 3}))
    with pytest.raises(FormatError, match="no weight_map"):
        open_pytorch(sharded)


def test_a_directory_that_lacks_something_is_refused(
    torch: Any, directory: Path, state: dict[str, Any]
) -> None:
    with pytest.raises(NotFoundError, match=r"no pytorch_model.bin"):
        open_pytorch(directory)
    torch.save(state, directory / "pytorch_model.bin")
    (directory / "config.json").unlink()
    with pytest.raises(NotFoundError, match=r"config.json"):
        open_pytorch(directory)


def test_the_tokenizer_is_copied(torch: Any, directory: Path, state: dict[str, Any], tmp_path: Path) -> None:
    torch.save(state, directory / "pytorch_model.bin")
    with pytest.raises(NotFoundError, match="no tokenizer"):
        open_pytorch(directory).write_tokenizer(tmp_path)
    (directory / "tokenizer.json").write_text('{"model": {}}')
    open_pytorch(directory).write_tokenizer(tmp_path)
    assert (tmp_path / "tokenizer.json").read_text() == '{"model": {}}'
