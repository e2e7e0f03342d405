"""What a conversion is called in the library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgelm_converters.result.naming import output_name
from edgelm_converters.sources.checkpoint import SourceOrigin

FOUR: dict[str, Any] = {"quantization": {"bits": 4, "group_size": 64, "mode": "affine"}}


@pytest.mark.parametrize(
    ("source", "kind", "file", "expected"),
    [
        ("Org/Name-1B-Instruct", "huggingface", "model.safetensors", "name-1b-instruct-4bit"),
        ("mlx-community/Qwen3-0.6B-8bit", "huggingface", "model.safetensors", "qwen3-0.6b-4bit"),
        ("/data/My Model/", "pytorch", "pytorch_model.bin", "my-model-4bit"),
        ("smollm2", "gguf", "SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2-135m-instruct-4bit"),
        ("big", "gguf", "Big-70B-Q4_K_M-00001-of-00003.gguf", "big-70b-4bit"),
        ("model-f16", "gguf", "model-f16.gguf", "model-4bit"),
    ],
)
def test_names_are_of_the_model_and_its_new_precision(
    source: str, kind: str, file: str, expected: str
) -> None:
    assert output_name(SourceOrigin(source, kind, (Path(file),)), FOUR) == expected


@pytest.mark.parametrize("source", [".", "..", "./"])
def test_a_directory_named_by_dots_has_its_own_name(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "outer" / "inner"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    expected = "outer-4bit" if source == ".." else "inner-4bit"
    assert output_name(SourceOrigin(source, "huggingface", (here / "model.safetensors",)), FOUR) == expected


@pytest.mark.parametrize("mode", ["../../outside", "/etc", "a/b", "\\..\\x"])
def test_a_mode_that_is_a_path_stays_in_the_name(mode: str) -> None:
    name = output_name(
        SourceOrigin("org/tiny", "huggingface", (Path("model.safetensors"),)),
        {"quantization": {"bits": 4, "mode": mode}},
    )
    assert Path(name).name == name
    assert name.startswith("tiny-")
