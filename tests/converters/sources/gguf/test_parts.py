"""A model split over several files opens from any of them."""

from __future__ import annotations

import pytest

from edgelm.errors import FormatError, NotFoundError
from edgelm_converters.sources.gguf.checkpoint import open_gguf


@pytest.fixture
def split(tmp_path, write_gguf, tiny_metadata, tiny_tensors):
    """Three parts, as llama.cpp's gguf-split writes them; the metadata is in the first."""
    tensors = list(tiny_tensors().items())
    paths = [tmp_path / f"m-{number:05}-of-00003.gguf" for number in (1, 2, 3)]
    for number, path in enumerate(paths):
        said = {"split.no": number, "split.count": 3}
        metadata = {**tiny_metadata, **said} if number == 0 else said
        write_gguf(
            path, "llama", metadata, dict(tensors[number * 7 : (number + 1) * 7 if number < 2 else None])
        )
    return paths


@pytest.mark.parametrize("which", [0, 1, 2])
def test_any_part_opens_the_whole(which, split, tiny_tensors):
    checkpoint = open_gguf(split[which])
    assert len(checkpoint.tensors) == len(tiny_tensors())
    assert checkpoint.origin.files == tuple(split)
    assert all(tensor.read().shape == tensor.shape for tensor in checkpoint.tensors.values())


def test_a_missing_part_is_named(split):
    split[1].unlink()
    with pytest.raises(NotFoundError, match=r"m-00002-of-00003\.gguf does not exist"):
        open_gguf(split[0])


def test_a_part_in_the_wrong_place(split):
    split[2].write_bytes(split[1].read_bytes())
    with pytest.raises(FormatError, match="says it is part 1, expected 2 of 3"):
        open_gguf(split[0])


def test_a_renamed_part(split):
    renamed = split[0].rename(split[0].with_name("model.gguf"))
    with pytest.raises(
        FormatError, match=r"one of 3 parts, expected a name that ends in -00001-of-00003\.gguf"
    ):
        open_gguf(renamed)
