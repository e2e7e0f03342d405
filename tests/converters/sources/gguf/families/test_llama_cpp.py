"""The harness itself: a llama through llama.cpp's own converter, in several types and in parts."""

from __future__ import annotations

from pathlib import Path

import pytest
from gguf_families import FamilyCase, check_family, converted_logits, difference, logits_of
from llama_cpp_converter import ConverterFailedError, LlamaCppConverter

from edgelm_converters.convert import convert

pytestmark = [pytest.mark.peer, pytest.mark.slow]

LLAMA = FamilyCase("Llama")


def test_a_llama(llama_cpp: LlamaCppConverter, tmp_path: Path) -> None:
    check_family(LLAMA, llama_cpp, tmp_path)


@pytest.mark.parametrize(("outtype", "tolerance"), [("bf16", 2e-2), ("q8_0", 5e-2)])
def test_types(llama_cpp: LlamaCppConverter, tmp_path: Path, outtype: str, tolerance: float) -> None:
    network = LLAMA.publish(tmp_path / "source")
    gguf = llama_cpp.convert(tmp_path / "source", outtype=outtype)
    mode = None if outtype == "q8_0" else "none"  # blocks are kept as they are
    out = convert(gguf, tmp_path / "out", mode=mode, dtype="float32", verify=False).directory
    assert difference(converted_logits(out), logits_of(network)) < tolerance


def test_what_the_converter_refuses_is_said(llama_cpp: LlamaCppConverter, tmp_path: Path) -> None:
    with pytest.raises(ConverterFailedError, match=r"nowhere|ended with 1"):
        llama_cpp.convert(tmp_path / "nowhere")
    # And the child is still there for the next one.
    LLAMA.publish(tmp_path / "source")
    assert llama_cpp.convert(tmp_path / "source").stat().st_size > 0
