"""A folder with one model in several files, or with files beside it that are no models."""

from __future__ import annotations

import numpy as np
import pytest

from edgelm.errors import FormatError
from edgelm_converters.sources.recognise import open_path


@pytest.fixture
def folder(tmp_path, write_gguf, tiny_metadata, tiny_tensors):
    """One model in two parts."""
    tensors = list(tiny_tensors().items())
    for number, part in enumerate((tensors[:9], tensors[9:])):
        said = {"split.no": number, "split.count": 2}
        metadata = {**tiny_metadata, **said} if number == 0 else said
        write_gguf(tmp_path / f"m-{number + 1:05}-of-00002.gguf", "llama", metadata, dict(part))
    return tmp_path


def companion(write_gguf, path, architecture, kind):
    return write_gguf(
        path, architecture, {"general.type": kind}, {"v.x.weight": np.zeros((4, 4), np.float32)}
    )


def test_parts_are_one_model(folder, tiny_tensors):
    checkpoint = open_path(folder)
    assert len(checkpoint.tensors) == len(tiny_tensors())
    assert [path.name for path in checkpoint.origin.files] == [
        "m-00001-of-00002.gguf",
        "m-00002-of-00002.gguf",
    ]
    assert checkpoint.notes == ()


@pytest.mark.parametrize(
    ("name", "architecture", "kind", "what"),
    [
        ("mmproj-model-f16.gguf", "clip", "mmproj", "for images or sound"),
        ("m-mmproj.gguf", "clip", "mmproj", "for images or sound"),
        ("tower.gguf", "clip", "model", "for images or sound"),
        ("lora.gguf", "llama", "adapter", "an adapter"),
        ("m.imatrix.gguf", "llama", "imatrix", "importances"),
    ],
)
def test_what_lies_beside_a_model_is_told_by_its_header(name, architecture, kind, what, folder, write_gguf):
    companion(write_gguf, folder / name, architecture, kind)
    (folder / "._m-00001-of-00002.gguf").write_bytes(b"\0\5\x16\7")  # what macOS leaves on other file systems
    checkpoint = open_path(folder)
    assert checkpoint.config["model_type"] == "llama"
    assert checkpoint.notes == (f"left out {name}, which is {what}",)


def test_two_models_are_refused_by_name(folder, write_gguf, tiny_metadata, tiny_tensors):
    write_gguf(folder / "other.gguf", "llama", tiny_metadata, tiny_tensors())
    with pytest.raises(FormatError, match=r"holds 2 GGUF files: m-00001-of-00002\.gguf, other\.gguf"):
        open_path(folder)


def test_a_broken_file_beside_a_model_is_not_passed_over(folder):
    (folder / "broken.gguf").write_bytes(b"GGUF")
    with pytest.raises(FormatError, match="holds 2 GGUF files"):
        open_path(folder)
