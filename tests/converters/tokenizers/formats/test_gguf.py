from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor
from sentencepiece.sentencepiece_model_pb2 import ModelProto

from edgelm.errors import EdgeLMError, FormatError, UnsupportedError
from edgelm_converters.tokenizers.formats.gguf import write_gguf_tokenizer

ORIGIN = Path("model.gguf")
TOKENS = "tokenizer.ggml.tokens"
TYPES = "tokenizer.ggml.token_type"
MERGES = "tokenizer.ggml.merges"
SCORES = "tokenizer.ggml.scores"
PRE = "tokenizer.ggml.pre"
MODEL = "tokenizer.ggml.model"


def test_byte_level_ids(
    gpt2_metadata: Any, byte_level: Any, tmp_path: Path, load: Any, texts: list[str]
) -> None:
    write_gguf_tokenizer(gpt2_metadata, tmp_path, origin=ORIGIN)
    tokenizer = load(tmp_path)
    for text in texts:
        ids = tokenizer.encode(text)
        assert ids == byte_level.encode(text).ids, text
        assert tokenizer.decode(ids) == text
    assert tokenizer.model_max_length == 2048
    assert tokenizer.clean_up_tokenization_spaces is False


def test_byte_level_streams(gpt2_metadata: Any, tmp_path: Path) -> None:
    from mlx_lm.tokenizer_utils import BPEStreamingDetokenizer, load

    write_gguf_tokenizer(gpt2_metadata, tmp_path, origin=ORIGIN)
    wrapper = load(tmp_path)
    assert isinstance(wrapper.detokenizer, BPEStreamingDetokenizer)
    assert wrapper.eos_token_ids == {0}


def test_special_and_user_defined_tokens(gpt2_metadata: Any, tmp_path: Path, load: Any) -> None:
    tokens = gpt2_metadata[TOKENS]
    base = len(tokens)
    tokens += ["<｜begin▁of▁sentence｜>", "<think>", "    ", ""]
    gpt2_metadata[TYPES] += [3, 4, 4, 5]
    write_gguf_tokenizer(gpt2_metadata, tmp_path, origin=ORIGIN)
    tokenizer = load(tmp_path)
    assert len(tokenizer) == base + 4
    ids = tokenizer.encode("<｜begin▁of▁sentence｜><think>a    b<|end|>")
    assert [ids[0], ids[1], ids[3], ids[5]] == [base, base + 1, base + 2, 0]
    assert tokenizer.decode(ids) == "<｜begin▁of▁sentence｜><think>a    b<|end|>"
    assert tokenizer.decode(ids, skip_special_tokens=True) == "<think>a    b"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (False, False)),
        ({PRE: "llama-bpe"}, (True, False)),
        ({PRE: "llama-bpe", "tokenizer.ggml.add_bos_token": False}, (False, False)),
        ({"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_eos_token": True}, (True, True)),
    ],
)
def test_bos_and_eos(
    gpt2_metadata: Any, tmp_path: Path, load: Any, changes: dict[str, Any], expected: tuple[bool, bool]
) -> None:
    write_gguf_tokenizer(gpt2_metadata | changes, tmp_path, origin=ORIGIN)
    ids = load(tmp_path).encode("egg")
    assert (ids[0] == 1, ids[-1] == 0) == expected
    raw = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    assert (raw["post_processor"] is not None) == any(expected)


@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2", "qwen3", "gemma2", "phi3"])
def test_ids_do_not_depend_on_the_model_type(
    gpt2_metadata: Any, tmp_path: Path, load: Any, architecture: str, texts: list[str]
) -> None:
    """transformers has tokenizer classes of its own for some model types, which rebuild what they load."""
    gpt2_metadata |= {
        PRE: "qwen2",
        "general.architecture": architecture,
        "tokenizer.ggml.add_bos_token": True,
    }
    write_gguf_tokenizer(gpt2_metadata, tmp_path, origin=ORIGIN)
    bare = load(tmp_path)
    expected = [bare.encode(text) for text in texts]
    (tmp_path / "config.json").write_text(json.dumps({"model_type": architecture}), encoding="utf-8")
    tokenizer = load(tmp_path)
    assert [tokenizer.encode(text) for text in texts] == expected
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (1, 0)
    assert len(tokenizer) == len(bare)


def test_refuses_what_transformers_would_override(gpt2_metadata: Any, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="in a qwen2 model"):
        write_gguf_tokenizer(gpt2_metadata | {"general.architecture": "qwen2"}, tmp_path, origin=ORIGIN)


def test_llama_kind(
    llama_metadata: Any, llama_model: bytes, tmp_path: Path, load: Any, texts: list[str]
) -> None:
    from mlx_lm.tokenizer_utils import SPMStreamingDetokenizer
    from mlx_lm.tokenizer_utils import load as load_mlx
    from sentencepiece import SentencePieceProcessor

    write_gguf_tokenizer(llama_metadata, tmp_path, origin=ORIGIN)
    tokenizer, theirs = load(tmp_path), SentencePieceProcessor(model_proto=llama_model)
    for text in texts:
        ids = tokenizer.encode(text)
        assert ids == [1, *theirs.encode(text)], text
        assert tokenizer.decode(ids, skip_special_tokens=True) == theirs.decode(ids), text
    assert isinstance(load_mlx(tmp_path).detokenizer, SPMStreamingDetokenizer)


def test_llama_kind_without_prefix_or_types(llama_metadata: Any, tmp_path: Path, load: Any) -> None:
    """Older files have no token types; Gemma's have no prefix."""
    del llama_metadata[TYPES]
    llama_metadata["tokenizer.ggml.add_space_prefix"] = False
    write_gguf_tokenizer(llama_metadata, tmp_path, origin=ORIGIN)
    tokenizer = load(tmp_path)
    ids = tokenizer.encode("egg ☃")
    assert tokenizer.convert_ids_to_tokens(ids)[-4:] == ["▁", "<0xE2>", "<0x98>", "<0x83>"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "egg ☃"
    assert tokenizer.all_special_tokens == ["<s>", "</s>", "<unk>"]


def test_space_after_control_tokens_as_llama_cpp(llama_metadata: Any, tmp_path: Path, load: Any) -> None:
    write_gguf_tokenizer(llama_metadata, tmp_path, origin=ORIGIN)
    tokenizer = load(tmp_path)
    alone = tokenizer.encode("the dog", add_special_tokens=False)
    assert tokenizer.encode("</s>the dog", add_special_tokens=False) == [2, *alone]


def test_phi3_tokens_swallow_white_space(llama_metadata: Any, tmp_path: Path, load: Any) -> None:
    llama_metadata[TOKENS].append("<|user|>")
    llama_metadata[SCORES].append(0.0)
    llama_metadata[TYPES].append(3)
    llama_metadata[TOKENS].append("<|end|>")
    llama_metadata[SCORES].append(0.0)
    llama_metadata[TYPES].append(3)
    end = len(llama_metadata[TOKENS]) - 1
    llama_metadata |= {"general.name": "Phi 3 Mini 4K Instruct", "tokenizer.ggml.eos_token_id": end}
    write_gguf_tokenizer(llama_metadata, tmp_path, origin=ORIGIN)
    tokenizer = load(tmp_path)
    assert tokenizer.encode("<|user|>\n the dog") == tokenizer.encode("<|user|>the dog")
    assert tokenizer.encode("<|end|>\n the dog") == tokenizer.encode("<|end|>the dog")


def test_gemma4_kind_uses_its_merges(llama_metadata: Any, tmp_path: Path, load: Any) -> None:
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "▁", "  ", "a", "b", "ab", "▁ab", "\n", "<turn>"]
    types = [3, 3, 3, 2, 1, 4, 1, 1, 1, 1, 1, 3]
    metadata = {
        MODEL: "gemma4",
        TOKENS: tokens,
        TYPES: types,
        MERGES: ["▁ ▁", "a b", "▁ ab"],
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.unknown_token_id": 3,
    }
    write_gguf_tokenizer(metadata, tmp_path, origin=ORIGIN)
    tokenizer = load(tmp_path)
    ids = tokenizer.encode("ab ab  ab\n<turn>")
    assert ids == [2, 8, 9, 5, 8, 10, 11]
    assert tokenizer.decode(ids[1:]) == "ab ab  ab\n<turn>"


def test_ordinary_padding_token_stays_ordinary(gpt2_metadata: Any, tmp_path: Path, load: Any) -> None:
    index = gpt2_metadata[TOKENS].index("!")
    roles = {"tokenizer.ggml.padding_token_id": index, "tokenizer.ggml.unknown_token_id": 2**32 - 1}
    write_gguf_tokenizer(gpt2_metadata | roles, tmp_path, origin=ORIGIN)
    tokenizer = load(tmp_path)
    assert tokenizer.pad_token is None
    assert tokenizer.unk_token is None
    assert tokenizer.decode(tokenizer.encode("egg!"), skip_special_tokens=True) == "egg!"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({TOKENS: None}, rf"{TOKENS} is None, expected an array of strings"),
        ({TOKENS: []}, rf"{TOKENS} is \[\]"),
        ({TOKENS: "abc"}, rf"{TOKENS} is 'abc', expected an array"),
        ({TOKENS: ["a", 7]}, rf"{TOKENS}\[1\] is 7, expected a string"),
        ({TOKENS: ["a", "\ud800"]}, rf"{TOKENS}\[1\]"),
        ({TOKENS: ["a", "b", "a"], TYPES: [1, 1, 1], MERGES: []}, "'a' has ids 0 and 2"),
        ({TYPES: [1, 2]}, "2 token types, expected one for each"),
        ({TYPES: [9]}, rf"{TYPES}\[0\] is 9, expected an integer from 0 to 6"),
        ({MERGES: None}, rf"{MERGES} is missing"),
        ({MERGES: ["the zzz"]}, rf"{MERGES}\[0\] is 'the zzz', expected two tokens"),
        ({MERGES: ["the"]}, rf"{MERGES}\[0\] is 'the'"),
        ({MERGES: [3]}, rf"{MERGES}\[0\] is 3, expected a string"),
        ({"tokenizer.ggml.eos_token_id": 10**6}, r"eos_token_id is 1000000, expected a token id from 0 to"),
        ({"tokenizer.ggml.eos_token_id": -1}, r"eos_token_id is -1"),
        ({"tokenizer.ggml.eos_token_id": "0"}, r"eos_token_id is '0'"),
        ({"tokenizer.ggml.add_bos_token": "yes"}, "expected true or false"),
        ({"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.bos_token_id": None}, "has no BOS token"),
        ({"tokenizer.chat_template": 5}, "tokenizer.chat_template is 5, expected a string"),
        ({MODEL: None}, f"{MODEL} is missing"),
    ],
)
def test_refuses_hostile_byte_level(gpt2_metadata: Any, tmp_path: Path, changes: Any, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        write_gguf_tokenizer(gpt2_metadata | changes, tmp_path, origin=ORIGIN)
    assert "model.gguf" in caught.value.message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({SCORES: None}, f"{SCORES} is missing"),
        ({SCORES: [0.0]}, "1 scores, expected one for each"),
        ({SCORES: [float("nan")]}, rf"{SCORES}\[0\] is nan, expected a finite number"),
        ({TOKENS: ["a"], SCORES: [0.0], TYPES: [1]}, "expected a token id from 0 to 0"),
        ({TOKENS: ["u", "s", "e", "x" * 5000], SCORES: [0.0] * 4, TYPES: [2, 3, 3, 1]}, "5000 characters"),
        ({TOKENS: ["u", "<s x>", "e"], SCORES: [0.0] * 3, TYPES: [2, 3, 3]}, "BOS token is '<s x>'"),
    ],
)
def test_refuses_hostile_llama(llama_metadata: Any, tmp_path: Path, changes: Any, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        write_gguf_tokenizer(llama_metadata | changes, tmp_path, origin=ORIGIN)


def test_refuses_vocabularies_that_imply_too_many_merges(llama_metadata: Any, tmp_path: Path) -> None:
    tokens = ["<unk>", "<s>", "</s>", *("a" * length for length in range(1, 600))]
    changes = {TOKENS: tokens, SCORES: [0.0] * len(tokens), TYPES: [2, 3, 3] + [1] * 599}
    with pytest.raises(FormatError, match="merges, expected at most 64 a piece"):
        write_gguf_tokenizer(llama_metadata | changes, tmp_path, origin=ORIGIN)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({MODEL: "bert"}, "'bert', expected one of gpt2, llama"),
        ({MODEL: "t5"}, "'t5'"),
        ({PRE: "unheard-of"}, "'unheard-of'"),
        ({PRE: None}, f"{PRE} is missing"),
    ],
)
def test_refuses_what_it_does_not_know(
    gpt2_metadata: Any, tmp_path: Path, changes: Any, message: str
) -> None:
    with pytest.raises(UnsupportedError, match=message):
        write_gguf_tokenizer(gpt2_metadata | changes, tmp_path, origin=ORIGIN)


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 2**33),
    st.floats(),
    st.text(max_size=4),
    st.lists(st.text(max_size=3)),
    st.lists(st.integers(-1, 9)),
    st.binary(max_size=4),
    st.dictionaries(st.text(max_size=2), st.none()),
)


@pytest.mark.fault
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(["gpt2", "llama", "gemma4"]))
def test_any_metadata_raises_only_our_errors(tmp_path: Path, data: st.DataObject, kind: str) -> None:
    tokens = ["<unk>", "<s>", "</s>", "a", "b", "ab", "▁"]
    metadata: dict[str, Any] = {
        MODEL: kind,
        PRE: "smollm",
        TOKENS: tokens,
        TYPES: [2, 3, 3, 1, 1, 1, 1],
        SCORES: [0.0] * 7,
        MERGES: ["a b"],
        "general.architecture": "llama",
        "general.name": "x",
        "tokenizer.chat_template": "x",
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.add_space_prefix": True,
        "llama.context_length": 8,
    }
    for key in data.draw(st.lists(st.sampled_from(sorted(metadata)), min_size=1, max_size=3)):
        metadata[key] = data.draw(JUNK)
    try:
        write_gguf_tokenizer(metadata, tmp_path, origin=ORIGIN)
    except EdgeLMError:
        return
    from tokenizers import Tokenizer

    Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode("ab <s>")


def test_named_templates_are_kept(tmp_path: Path) -> None:
    metadata = {
        MODEL: "llama",
        TOKENS: ["<unk>", "<s>", "</s>", "a", "b", "▁"],
        TYPES: [2, 3, 3, 1, 1, 1],
        SCORES: [0.0] * 6,
        "general.architecture": "llama",
        "tokenizer.chat_template": "default",
        "tokenizer.chat_templates": ["tool_use", "rag"],
        "tokenizer.chat_template.tool_use": "tools",
        "tokenizer.chat_template.rag": "documents",
        "tokenizer.chat_template.../evil": "no name",
    }
    write_gguf_tokenizer(metadata, tmp_path, origin=ORIGIN)
    from transformers import AutoTokenizer

    found = AutoTokenizer.from_pretrained(tmp_path).chat_template
    assert found == {"default": "default", "tool_use": "tools", "rag": "documents"}


SPACES = ["▁▁", "▁▁▁▁", "\n\n", "▁<x>"]


@pytest.mark.parametrize("prefix", [True, False], ids=["prefix", "no prefix"])
@pytest.mark.parametrize("spelled", ["▁", " "], ids=["escaped", "as llama.cpp's converter writes them"])
def test_user_defined_symbols_made_of_spaces(
    prefix: bool, spelled: str, train: Any, tmp_path: Path, load: Any
) -> None:
    """Gemma's runs of spaces: matched as sentencepiece does it, those of the prefix and the beginning included."""
    data = train(
        model_type="bpe", vocab_size=400, user_defined_symbols=SPACES, add_dummy_prefix=prefix, remove_extra_whitespaces=False,
        normalization_rule_name="identity", byte_fallback=True,
    )  # fmt: skip
    theirs = SentencePieceProcessor(model_proto=data)
    model = ModelProto.FromString(data)
    tokens = [p.piece.replace("▁", spelled) if p.type == 4 else p.piece for p in model.pieces]
    metadata = {
        MODEL: "llama", TOKENS: tokens, TYPES: [p.type for p in model.pieces], SCORES: [p.score for p in model.pieces],
        "tokenizer.ggml.add_space_prefix": prefix, "general.architecture": "llama",
    }  # fmt: skip
    write_gguf_tokenizer(metadata, tmp_path, origin=tmp_path / "model.gguf")
    ours = load(tmp_path)
    rng = random.Random(0)
    words = ["  ", "    ", " ", "a", "the", "\n", "\n\n", " <x>", "<x>", "é"]
    for _ in range(200):
        text = "".join(rng.choice(words) for _ in range(rng.randrange(1, 8)))
        if text in SPACES:
            continue  # one user-defined symbol and no more gains no prefix
        ids = theirs.encode(text)
        assert ours.encode(text, add_special_tokens=False) == ids, text
        assert ours.decode(ids) == theirs.decode(ids)
