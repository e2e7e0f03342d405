"""Files that llama.cpp's own converter writes: converted, they compute what transformers computes of the original."""

from __future__ import annotations

from pathlib import Path

import pytest
from gguf_cases import CASES, OPTIONS
from gguf_families import check_family
from llama_cpp_converter import LlamaCppConverter


@pytest.mark.parity
@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_logits_and_tokens_are_those_of_the_original(
    name: str, llama_cpp: LlamaCppConverter, tmp_path: Path
) -> None:
    check_family(CASES[name], llama_cpp, tmp_path, *OPTIONS.get(name, ()))
