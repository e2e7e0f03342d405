from __future__ import annotations

import base64
import itertools
from pathlib import Path
from typing import Any

import pytest

from edgelm.errors import FormatError, UnsupportedError
from edgelm_converters.tokenizers.formats.sentencepiece import write_sentencepiece_tokenizer
from edgelm_converters.tokenizers.formats.tiktoken import LLAMA4_RANKS, llama3_special_tokens

WORDS = [
    b"th",
    b"the",
    b" the",
    b"in",
    b"ing",
    b" t",
    b"er",
    b"\n\n",
    b"12",
    b"123",
    b" w",
    b"at",
    b" wat",
    b"\xc3\xbc",
]


def rank_file(tokens: list[bytes]) -> bytes:
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens))


@pytest.fixture
def tokens() -> list[bytes]:
    return [bytes([byte]) for byte in range(256)] + WORDS


def merge(word: bytes, ranks: dict[bytes, int]) -> list[int]:
    """tiktoken's algorithm: join the two neighbours of lowest rank, leftmost first."""
    parts = [bytes([byte]) for byte in word] if word not in ranks else [word]
    while True:
        found = [(ranks[a + b], i) for i, (a, b) in enumerate(itertools.pairwise(parts)) if a + b in ranks]
        if not found:
            return [ranks[part] for part in parts]
        _, at = min(found)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("the water", ["the", " water"]),
        ("In 12345", ["In", " ", "123", "45"]),
        ("thing\n\nüber", ["thing", "\n\n", "über"]),
        ("DON'T", ["DON", "'T"]),
    ],
)
def test_same_ids_as_tiktoken(
    tokens: list[bytes], tmp_path: Path, load: Any, text: str, words: list[str]
) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(rank_file(tokens))
    write_sentencepiece_tokenizer(path, tmp_path)
    path.unlink()
    tokenizer = load(tmp_path)
    ranks = {token: rank for rank, token in enumerate(tokens)}
    expected = [token for word in words for token in merge(word.encode(), ranks)]
    assert tokenizer.encode(text) == [len(tokens), *expected]
    assert tokenizer.decode(expected) == text


def test_special_tokens_follow_the_ranks(tokens: list[bytes], tmp_path: Path, load: Any) -> None:
    path = tmp_path / "source.model"
    path.write_bytes(rank_file(tokens))
    write_sentencepiece_tokenizer(path, tmp_path, eos="<|eot_id|>")
    tokenizer = load(tmp_path)
    base = len(tokens)
    assert len(tokenizer) == base + 256
    assert tokenizer.convert_tokens_to_ids("<|eot_id|>") == tokenizer.eos_token_id == base + 9
    assert tokenizer.convert_tokens_to_ids("<|reserved_special_token_247|>") == base + 255
    assert tokenizer.encode("<|start_header_id|>", add_special_tokens=False) == [base + 6]


def test_special_tokens_of_llama3() -> None:
    names = llama3_special_tokens()
    assert len(names) == len(set(names)) == 256
    assert names[2:6] == [
        "<|reserved_special_token_0|>",
        "<|reserved_special_token_1|>",
        "<|finetune_right_pad_id|>",
        "<|reserved_special_token_2|>",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.replace(b" 3\n", b" x\n"), "line 4 is"),
        (lambda data: data.replace(b" 3\n", b" 300\n"), "gaps"),
        (lambda data: data + b"!!! 270\n", "expected a token in base64"),
        (lambda data: data + data[:7], "repeats token"),
        (lambda data: data[7:], "gaps"),
        (lambda data: rank_file([b"a", b"b", b"ab"]), "all 256"),
    ],
)
def test_refuses_broken_files(tokens: list[bytes], tmp_path: Path, change: Any, message: str) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(change(rank_file(tokens)))
    with pytest.raises(FormatError, match=message):
        write_sentencepiece_tokenizer(path, tmp_path)


@pytest.mark.slow
def test_refuses_llama4(tokens: list[bytes], tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    more = [b"%d" % number for number in range(10**6, 10**6 + LLAMA4_RANKS - len(tokens))]
    path.write_bytes(rank_file(tokens + more))
    with pytest.raises(UnsupportedError, match="128000"):
        write_sentencepiece_tokenizer(path, tmp_path)
