"""float64 in safetensors, which `mx.load` refuses for the whole file: converting reads it, as transformers does."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import pytest
import torch
import transformers
from checkpoints import write_checkpoint
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from edgelm.errors import UnsupportedError
from edgelm.model.load import load
from edgelm.zoo.weights.safetensors_header import read_header
from edgelm.zoo.weights.stored_array import NUMPY_TYPES
from edgelm_converters.convert import convert
from edgelm_converters.sources.huggingface.checkpoint import DTYPES, _lazy, _Shard

WIDE = ("model.norm.weight", "model.layers.1.mlp.down_proj.weight", "model.embed_tokens.weight")


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of which three tensors are float64, one in bfloat16."""
    directory = tmp_path_factory.mktemp("wide") / "it's 64"
    write_checkpoint(directory, "llama")
    file = directory / "model.safetensors"
    tensors = load_file(file)
    tensors.update({name: tensors[name].double() * (1 + 1e-9) for name in WIDE})
    tensors["model.layers.0.mlp.up_proj.weight"] = tensors["model.layers.0.mlp.up_proj.weight"].bfloat16()
    save_file(tensors, file, {"format": "pt"})
    return directory


@pytest.mark.slow
def test_converted_as_transformers_reads_it(wide: Path, tmp_path: Path, home: Path) -> None:
    made = convert(str(wide), output=tmp_path / "made", mode="none", dtype="float32")
    assert any("3 tensors of float64" in note for note in made.manifest.receipt["notes"])
    network = load(made.directory).network
    theirs = transformers.AutoModelForCausalLM.from_pretrained(wide, dtype=torch.float32)
    ids = list(range(4, 60))
    with torch.no_grad():
        expected = theirs(torch.tensor([ids])).logits[0]
    found = torch.tensor(network(mx.array([ids]))[0].tolist())
    assert (found - expected).abs().max() < 1e-4


def test_loading_says_what_to_do(wide: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"is float64") as caught:
        load(wide)
    assert "edgelm convert '" in str(caught.value.hint)
    assert """it'"'"'s 64""" in str(caught.value.hint)


def test_every_type_beside_a_float64_is_read_as_it_is_stored(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    values = torch.tensor([[0, 1, 2], [3, 100, 7]])
    kinds = {
        "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
        "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
        "U16": torch.uint16, "U32": torch.uint32, "U64": torch.uint64, "BOOL": torch.bool,
    }  # fmt: skip
    save_file(
        {name: values.to(kind) for name, kind in kinds.items()} | {"one": torch.tensor(2.5).double()}, file
    )
    shard, header = _Shard(file), read_header(file)
    assert set(NUMPY_TYPES) == set(DTYPES)
    with safe_open(file, "pt") as stored:
        for name, info in header.items():
            tensor = _lazy(shard, name, info)
            found = tensor.read()
            assert (found.shape, found.dtype) == (tensor.shape, tensor.dtype)
            assert found.astype(mx.float32).tolist() == stored.get_tensor(name).float().tolist()
