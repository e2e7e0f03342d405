from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelm.errors import FormatError
from edgelm_converters.tokenizers.formats.charsmap import check_charsmap

ORIGIN = Path("tokenizer.model")


@pytest.fixture(scope="module")
def blob(train: Any) -> bytes:
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(train(model_type="bpe", normalization_rule_name="nmt_nfkc_cf"))
    return bytes(model.normalizer_spec.precompiled_charsmap)


def test_accepts_sentencepieces_own(blob: bytes) -> None:
    check_charsmap(blob, ORIGIN)


@pytest.mark.parametrize(
    "data", [b"", b"\1\0\0\0a", b"\4\0\0\0", b"\xff\xff\xff\xff1234", b"\4\0\0\0\0\0\0\x80a"]
)
def test_refuses_what_is_none(data: bytes) -> None:
    with pytest.raises(FormatError, match="normalization rules are broken"):
        check_charsmap(data, ORIGIN)


def test_refuses_replacements_that_are_not_text(blob: bytes) -> None:
    with pytest.raises(FormatError, match="not UTF-8"):
        check_charsmap(blob[:-2] + b"\xff\0", ORIGIN)


@pytest.mark.fault
def test_what_it_accepts_never_panics(blob: bytes) -> None:
    """Rust's panic is not an Exception: an unchecked trie would end the process's error handling."""
    from tokenizers import normalizers

    size_bytes = int.from_bytes(blob[:4], "little")
    rng = np.random.default_rng(0)
    sample = "ﬁ Å e\u0301 ① ＡＢＣ ㌀ İ ß \u1e9b\u0323 가 🤖"
    accepted = 0
    for _ in range(40):
        broken = bytearray(blob)
        for index in rng.integers(4, 4 + size_bytes, size=8):
            broken[index] ^= 1 << int(rng.integers(8))
        try:
            check_charsmap(bytes(broken), ORIGIN)
        except FormatError:
            continue
        accepted += 1
        normalizers.Precompiled(bytes(broken)).normalize_str(sample)
    assert accepted < 40
