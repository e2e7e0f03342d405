from __future__ import annotations

from pathlib import Path

import pytest

from edgelm.errors import UnsupportedError
from edgelm_converters.tokenizers.algorithms.pretokenizers import (
    SPLITTERS,
    build_pre_tokenizer,
    splitter_named,
)

ORIGIN = Path("model.gguf")


def words(name: str, text: str) -> list[str]:
    """The words of an ASCII text; `Ġ` and `Ċ` are how byte-level BPE writes a space and a newline."""
    parts = build_pre_tokenizer(splitter_named(name, ORIGIN)).pre_tokenize_str(text)
    return [part.replace("Ġ", " ").replace("Ċ", "\n") for part, _ in parts]


@pytest.mark.parametrize("name", sorted(SPLITTERS))
def test_every_splitter_keeps_the_text(name: str) -> None:
    """Each expression compiles, and nothing is lost between the matches."""
    text = "Hello, World's  x=12345;\n\n\tif (a<b) {$c}  "
    assert "".join(words(name, text)).replace("ĉ", "\t") == text


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("gpt-2", "in 2024  it's", ["in", " 2024", " ", " it", "'s"]),
        ("smollm", "in 2024", ["in", " ", "2", "0", "2", "4"]),
        ("smollm", "a  12", ["a", "  ", "1", "2"]),
        ("llama-bpe", "in 2024 IT'S", ["in", " ", "202", "4", " IT", "'S"]),
        ("qwen2", "in 2024\n\n x", ["in", " ", "2", "0", "2", "4", "\n\n", " x"]),
        ("tekken", "camelCase 42/\n", ["camel", "Case", " ", "4", "2", "/\n"]),
        ("gpt-4o", "camelCase's 1234", ["camel", "Case's", " ", "123", "4"]),
        ("deepseek-v3", "x=12345.foo", ["x", "=", "123", "45", ".foo"]),
        ("deepseek-llm", "Hi \u03b3, x!\n12", ["Hi", " Î³", ",", " x", "!", "\n", "12"]),
        ("deepseek-coder", "a b\n\n12", ["a", " b", "\n", "\n", "1", "2"]),
        ("falcon", "x == 12345", ["x", " ", "==", " ", "123", "45"]),
        ("default", "x == 12345", ["x", " ", "==", " ", "123", "45"]),
        ("bloom", "yes, no.", ["yes", ",", " no", "."]),
    ],
)
def test_splits(name: str, text: str, expected: list[str]) -> None:
    assert words(name, text) == expected


def test_combining_marks_are_letters_to_qwen35_only() -> None:
    count = {name: len(words(name, "कि")) for name in ("qwen2", "qwen35")}
    assert count == {"qwen2": 2, "qwen35": 1}


def test_refuses_an_unknown_name() -> None:
    with pytest.raises(UnsupportedError, match=r"'qwen7'.*known: .*smollm.*model\.gguf") as caught:
        splitter_named("qwen7", ORIGIN)
    assert caught.value.hint == "did you mean 'qwen2'?"
