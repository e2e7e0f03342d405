from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor

from edgelm.errors import FormatError, NotFoundError, UnsupportedError
from edgelm_converters.tokenizers.formats.sentencepiece import write_sentencepiece_tokenizer

MODELS: dict[str, dict[str, Any]] = {
    "meta": {
        "model_type": "bpe",
        "byte_fallback": True,
        "split_digits": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
    },
    "gemma": {
        "model_type": "bpe",
        "byte_fallback": True,
        "split_digits": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "add_dummy_prefix": False,
        "user_defined_symbols": ["<tag>", "▁▁", "▁▁▁", "\n\n"],
    },
    "prefix and symbols": {
        "model_type": "bpe",
        "byte_fallback": True,
        "user_defined_symbols": ["<tag>", "+"],
    },
    "no bytes": {"model_type": "bpe", "character_coverage": 0.98},
    "bpe nfkc_cf": {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "nfkc_cf"},
    "unigram": {"model_type": "unigram"},
    "unigram bytes": {
        "model_type": "unigram",
        "byte_fallback": True,
        "normalization_rule_name": "nfkc",
        "remove_extra_whitespaces": False,
    },
    "unigram bare": {
        "model_type": "unigram",
        "add_dummy_prefix": False,
        "normalization_rule_name": "identity",
    },
}


@pytest.fixture(scope="module", params=MODELS)
def pair(
    request: pytest.FixtureRequest, train: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Any, Path]:
    """sentencepiece's own processor, ours, and the directory."""
    from transformers import AutoTokenizer

    directory = tmp_path_factory.mktemp("sp")
    data = train(**MODELS[request.param])
    path = tmp_path_factory.mktemp("source") / "tokenizer.model"
    path.write_bytes(data)
    write_sentencepiece_tokenizer(path, directory)
    return SentencePieceProcessor(model_proto=data), AutoTokenizer.from_pretrained(directory), directory


def test_same_ids(pair: tuple[Any, Any, Path], texts: list[str]) -> None:
    theirs, ours, _ = pair
    for text in texts:
        assert ours.encode(text) == [theirs.bos_id(), *theirs.encode(text)], text


def test_same_ids_on_random_text(pair: tuple[Any, Any, Path]) -> None:
    theirs, ours, _ = pair
    rng = random.Random(0)
    letters = "ab  cdehtnT12▁é中\t\n😀ﬁ①<>g.,"
    for _ in range(500):
        text = "".join(rng.choice(letters) for _ in range(rng.randrange(1, 30)))
        if text.strip(" ") == "+":
            continue  # exactly one user-defined symbol: the stated difference
        assert ours.encode(text, add_special_tokens=False) == theirs.encode(text), text


def test_decode(pair: tuple[Any, Any, Path], corpus: list[str]) -> None:
    theirs, ours, _ = pair
    for text in corpus:
        ids = theirs.encode(text)
        assert ours.decode(ids).replace("<unk>", " ⁇ ") == theirs.decode(ids), text


def test_streams_with_the_fast_detokenizer(pair: tuple[Any, Any, Path], corpus: list[str]) -> None:
    from mlx_lm.tokenizer_utils import SPMStreamingDetokenizer, load

    wrapper = load(pair[2])
    detokenizer = wrapper.detokenizer
    assert isinstance(detokenizer, SPMStreamingDetokenizer)
    ids = wrapper.encode(corpus[0], add_special_tokens=False)
    for token in ids:
        detokenizer.add_token(token)
    detokenizer.finalize()
    assert detokenizer.text == wrapper.decode(ids)
    assert detokenizer.text.lower() == corpus[0].lower()


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=40))
def test_any_text_as_meta(meta_pair: tuple[Any, Any], text: str) -> None:
    theirs, ours = meta_pair
    if any(control in text for control in ("<s>", "</s>", "<unk>")):
        return  # ours to recognise, the stated difference
    ids = ours.encode(text, add_special_tokens=False)
    assert ids == theirs.encode(text)
    assert ours.decode(ids) == theirs.decode(ids)


@pytest.fixture(scope="module")
def meta_pair(llama_model: bytes, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    from transformers import AutoTokenizer

    directory = tmp_path_factory.mktemp("meta")
    (directory / "source.model").write_bytes(llama_model)
    write_sentencepiece_tokenizer(directory / "source.model", directory)
    return SentencePieceProcessor(model_proto=llama_model), AutoTokenizer.from_pretrained(directory)


def test_options(llama_model: bytes, tmp_path: Path, load: Any) -> None:
    path = tmp_path / "source.model"
    path.write_bytes(llama_model)
    write_sentencepiece_tokenizer(
        path,
        tmp_path,
        add_bos=False,
        add_eos=True,
        chat_template="{{ bos_token }}{{ messages[0]['content'] }}<|end|>",
        extra_special=["<|user|>", "<|end|>"],
        eos="<|end|>",
    )
    tokenizer = load(tmp_path)
    count = len(tokenizer)
    assert tokenizer.convert_tokens_to_ids(["<|user|>", "<|end|>"]) == [count - 2, count - 1]
    assert tokenizer.eos_token == "<|end|>"
    ids = tokenizer.encode("<|user|>egg")
    assert ids[0] == count - 2
    assert ids[-1] == count - 1
    shown = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert shown == "<s>hi<|end|>"


@pytest.mark.parametrize("model_type", ["llama", "mistral", "gemma2", "phi3"])
def test_ids_do_not_depend_on_what_lies_beside_it(
    llama_model: bytes, tmp_path: Path, load: Any, texts: list[str], model_type: str
) -> None:
    """transformers has tokenizer classes of its own for some model types, and knows tokenizer.model too."""
    path = tmp_path / "tokenizer.model"
    path.write_bytes(llama_model)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}), encoding="utf-8")
    write_sentencepiece_tokenizer(path, tmp_path)
    tokenizer = load(tmp_path)
    processor = SentencePieceProcessor(model_proto=llama_model)
    for text in texts:
        assert tokenizer.encode(text) == [1, *processor.encode(text)], text


def test_model_without_bos(train: Any, tmp_path: Path, load: Any) -> None:
    path = tmp_path / "source.model"
    path.write_bytes(train(model_type="unigram", bos_id=-1))
    write_sentencepiece_tokenizer(path, tmp_path)
    tokenizer = load(tmp_path)
    assert tokenizer.bos_token is None
    assert tokenizer.encode("egg") == tokenizer.encode("egg", add_special_tokens=False)


def test_refuses_other_models(train: Any, tmp_path: Path) -> None:
    path = tmp_path / "source.model"
    path.write_bytes(train(model_type="char", vocab_size=200))
    with pytest.raises(UnsupportedError, match="word or character"):
        write_sentencepiece_tokenizer(path, tmp_path)


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"hello world", b"\xff" * 64, b"{}", b"\n\x03abc", b"\x80\x04."]
)
def test_refuses_other_files(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"tokenizer\.model"):
        write_sentencepiece_tokenizer(path, tmp_path)


def test_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="does not exist"):
        write_sentencepiece_tokenizer(tmp_path / "tokenizer.model", tmp_path)


@pytest.mark.fault
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), cut=st.booleans())
def test_broken_files_raise_only_our_errors(
    nfkc_model: Path, tmp_path: Path, position: float, byte: int, cut: bool
) -> None:
    from tokenizers import Tokenizer

    whole = nfkc_model.read_bytes()
    index = int(position * len(whole))
    data = whole[:index] if cut else whole[:index] + bytes([byte]) + whole[index + 1 :]
    path = tmp_path / "tokenizer.model"
    path.write_bytes(data)
    try:
        write_sentencepiece_tokenizer(path, tmp_path)
    except (FormatError, UnsupportedError):
        return
    Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode("ﬁ Å egg\u0301 ①")


@pytest.fixture(scope="module")
def nfkc_model(train: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A path, so that a failing example does not print the model."""
    path = tmp_path_factory.mktemp("nfkc") / "whole.model"
    path.write_bytes(train(model_type="unigram", vocab_size=300))
    return path


def test_a_symbol_of_spaces_is_never_met(train: Any, tmp_path: Path) -> None:
    """sentencepiece looks for symbols where spaces are "▁" already."""
    from transformers import AutoTokenizer

    data = train(
        model_type="bpe", vocab_size=400, user_defined_symbols=["  ", "    "], remove_extra_whitespaces=False,
        byte_fallback=True,
    )  # fmt: skip
    (tmp_path / "tokenizer.model").write_bytes(data)
    (tmp_path / "made").mkdir()
    write_sentencepiece_tokenizer(tmp_path / "tokenizer.model", tmp_path / "made")
    theirs, ours = SentencePieceProcessor(model_proto=data), AutoTokenizer.from_pretrained(tmp_path / "made")
    for text in ("a    b", "  ", "    a  b ", "the  egg"):
        assert ours.encode(text, add_special_tokens=False) == theirs.encode(text), text
