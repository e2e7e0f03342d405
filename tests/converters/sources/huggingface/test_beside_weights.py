"""Checkpoints as torch saves them, with buffers; and weights of integers, which nothing says how to read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
import torch
from checkpoints import write_checkpoint
from safetensors.torch import load_file, save_file

from edgelm.errors import EdgeLMError
from edgelm.model.load import load
from edgelm_converters.convert import convert

BUFFERS = {
    "model.embeddings.position_ids": torch.arange(16)[None],
    "model.layers.0.self_attn.bias": torch.tril(torch.ones(1, 1, 8, 8)).bool(),
    "model.layers.0.self_attn.masked_bias": torch.tensor(-1e4),
    "model.norm.num_batches_tracked": torch.tensor(3),
}
UP = "model.layers.0.mlp.up_proj.weight"


@pytest.fixture
def published(tmp_path: Path) -> Any:
    def write(changes: dict[str, torch.Tensor], *, as_pickle: bool = False) -> Path:
        directory = tmp_path / "source"
        write_checkpoint(directory, num_hidden_layers=1)
        file = directory / "model.safetensors"
        tensors = {**load_file(file), **changes}
        if as_pickle:
            file.unlink()
            torch.save(tensors, directory / "pytorch_model.bin")
        else:
            save_file(tensors, file, {"format": "pt"})
        return directory

    return write


@pytest.mark.slow
@pytest.mark.parametrize("as_pickle", [False, True], ids=["safetensors", "pickle"])
def test_buffers_are_listed_and_left_out(as_pickle: bool, published: Any, tmp_path: Path) -> None:
    source = published(BUFFERS, as_pickle=as_pickle)
    made = convert(source, tmp_path / "made", mode="none", dtype="float32")
    assert set(made.manifest.receipt["dropped"]) == {name.replace("s.0", "s.*") for name in BUFFERS}
    network = load(made.directory, check_fit=False).network
    if not as_pickle:
        ids = mx.array([[5, 6, 7]])
        assert mx.array_equal(network(ids), load(source, check_fit=False).network(ids))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (torch.int8, f"tensor '{UP}' of .* is I8 with no scales beside it"),
        (torch.int64, f"{UP} is I64|tensor '{UP}' is int64, expected floats"),
        (torch.bool, f"{UP} is BOOL|tensor '{UP}' is bool, expected floats"),
    ],
    ids=str,
)
def test_weights_of_integers_are_refused_by_name(
    kind: torch.dtype, words: str, published: Any, tmp_path: Path
) -> None:
    source = published({UP: torch.ones(128, 64).to(kind)})
    for read in (
        lambda: convert(source, tmp_path / "made", mode="none"),
        lambda: load(source, check_fit=False),
    ):
        with pytest.raises(EdgeLMError, match=words):
            read()
