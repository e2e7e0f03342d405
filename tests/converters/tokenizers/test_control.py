"""Types and ends of a GGUF's tokens are those of llama-vocab.cpp, whatever the file types them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgelm_converters.sources.gguf.generation import token_ids
from edgelm_converters.sources.gguf.metadata import Keys
from edgelm_converters.tokenizers.control import find_control
from edgelm_converters.tokenizers.formats.gguf import write_gguf_tokenizer
from edgelm_converters.tokenizers.vocabulary import TokenType

N, C, U = TokenType.NORMAL, TokenType.CONTROL, TokenType.USER_DEFINED
TOKENS, TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"


@pytest.mark.parametrize("kind", [N, U, C])
@pytest.mark.parametrize(
    "token",
    [
        "<|im_end|>",
        "<|eot_id|>",
        "<end_of_turn>",
        "<|end|>",
        "<|endoftext|>",
        "[EOT]",
        "<|eom_id|>",
        "<turn|>",
    ],
)
def test_what_looks_like_the_end_of_a_turn_is_one(token: str, kind: TokenType) -> None:
    found = find_control(["a", "</s>", token], [N, C, kind], {"eos": 1})
    assert found.types == (N, C, C)
    assert set(found.ends) == {1, 2}
    assert found.ends[0] == 1


def test_infilling_tokens_are_control_and_some_of_them_end_an_answer() -> None:
    tokens = [
        "<|fim_prefix|>",
        "<|fim_middle|>",
        "<|fim_suffix|>",
        "<|fim_pad|>",
        "<|repo_name|>",
        "<|file_sep|>",
    ]
    found = find_control(tokens, [U] * 6, {})
    assert found.types == (C,) * 6
    assert set(found.ends) == {3, 4, 5}


def test_what_the_file_names_is_not_looked_for() -> None:
    found = find_control(["<PAD>", "x", "<|im_end|>"], [N, N, N], {"eot": 1, "fim_pad": 1})
    assert found.types == (N, N, C)
    assert found.ends == (1, 2)


@pytest.mark.parametrize(
    ("tokens", "ends", "types"),
    [
        (["<|return|>", "<|call|>", "<|end|>", "<|channel|>"], {0, 1}, (C, C, U, U)),
        (["<|flush|>", "<|calls|>", "<|end|>"], {0, 1}, (C, C, U)),
        (["<|return|>", "<|end|>"], {0, 1}, (C, C)),
        (["<|tool_response>", "</s>", "<eos>"], {0, 2}, (C, N, C)),
    ],
)
def test_families_in_which_an_end_is_none(
    tokens: list[str], ends: set[int], types: tuple[TokenType, ...]
) -> None:
    found = find_control(tokens, [C] * len(tokens), {"eos": 0})
    assert (set(found.ends), found.types) == (ends, types)


@pytest.mark.parametrize("kind", [N, U])
@pytest.mark.parametrize("model", ["gpt2", "llama"])
def test_a_mistyped_end_of_turn_is_one_token_and_stops(
    kind: TokenType, model: str, gpt2_metadata: Any, llama_metadata: Any, tmp_path: Path, load: Any
) -> None:
    metadata = gpt2_metadata if model == "gpt2" else llama_metadata
    end = len(metadata[TOKENS])
    metadata[TOKENS] = [*metadata[TOKENS], "<|im_end|>"]
    metadata[TYPES] = [*metadata[TYPES], int(kind)]
    if "tokenizer.ggml.scores" in metadata:
        metadata["tokenizer.ggml.scores"] = [*metadata["tokenizer.ggml.scores"], 0.0]
    write_gguf_tokenizer(metadata, tmp_path, origin=Path("m.gguf"))
    tokenizer = load(tmp_path)
    ids = tokenizer.encode("egg<|im_end|>", add_special_tokens=False)
    assert ids[-1] == end
    assert tokenizer.decode(ids, skip_special_tokens=True).strip() == "egg"
    said = token_ids(Keys(metadata, "llama", Path("m.gguf")))["eos_token_id"]
    assert end in said
    assert len(said) > 1
