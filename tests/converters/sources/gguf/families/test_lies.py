"""Metadata that lies: whatever a key says, a file is read or refused in words, and nothing of the size it claims is made."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from gguf_cases import CASES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llama_cpp_converter import LlamaCppConverter

from edgelm.errors import EdgeLMError
from edgelm_converters.describe import describe_source
from edgelm_converters.sources.gguf import checkpoint
from edgelm_converters.sources.gguf.parts import GGUFModel, read_parts

NAMES = (
    "qwen3moe",
    "qwen2moe",
    "gpt-oss",
    "gemma3n",
    "gemma4-e",
    "gemma4-moe",
    "deepseek2",
    "deepseek2-v3",
    "glm4moe",
    "llama4",
    "apertus",
)

NUMBERS = st.sampled_from([0, 1, 2, 3, 5, 6, 7, 8, 64, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**63, -1])
FLOATS = st.sampled_from([0.0, -1.0, 1e-30, 1.0, 1e30, math.inf, -math.inf, math.nan])
VALUES = st.one_of(
    NUMBERS,
    FLOATS,
    st.booleans(),
    st.sampled_from(["", "yarn", "linear", "x"]),
    st.lists(st.one_of(NUMBERS, FLOATS, st.booleans()), max_size=7),
)


@pytest.fixture(scope="module")
def files(llama_cpp: LlamaCppConverter, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of each family."""
    found = {}
    for name in NAMES:
        directory = tmp_path_factory.mktemp(name)
        CASES[name].publish(directory / "source")
        found[name] = llama_cpp.convert(
            directory / "source", out=directory / "model.gguf", pre=CASES[name].pre
        )
    return found


def describe(path: Path, model: GGUFModel) -> None:
    """Plan the conversion of `path` as if it held `model`; errors of edgelm's own are fine."""
    with mock.patch.object(checkpoint, "read_parts", return_value=model):
        try:
            describe_source(str(path))
        except EdgeLMError as error:
            assert len(str(error)) < 1000  # noqa: PT017


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_only_errors_of_our_own(name: str, files: dict[str, Path], data: st.DataObject) -> None:
    model = read_parts(files[name])
    architecture = model.metadata["general.architecture"]
    own = sorted(key for key in model.metadata if key.startswith((f"{architecture}.", "xielu.")))
    changes: dict[str, Any] = {
        key: data.draw(VALUES, label=key)
        for key in data.draw(st.lists(st.sampled_from(own), min_size=1, max_size=3, unique=True))
    }
    dropped = data.draw(st.sets(st.sampled_from(sorted(model.tensors)), max_size=2))
    tensors = {key: tensor for key, tensor in model.tensors.items() if key not in dropped}
    describe(files[name], dataclasses.replace(model, metadata={**model.metadata, **changes}, tensors=tensors))
