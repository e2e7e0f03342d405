"""Tokenizers of every kind: understood byte for byte, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from edgelm.errors import UnsupportedError
from edgelm.runtime.constraints.grammar import Grammar
from edgelm.runtime.constraints.matcher import Matching
from edgelm.runtime.constraints.vocabulary import vocabulary_of

TEXT = '{"name": "Zoë 東京 🎉", "n": [1, -2.5]}'
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "n": {"type": "array", "items": {"type": "number"}}},
    "required": ["name", "n"],
}
WORDS = ["▁", '▁"', "name", '":', '{"', "▁[", "}"]


def wrap(tokenizer: Tokenizer, kind: type | None = None, **options: Any) -> Any:
    from mlx_lm.tokenizer_utils import TokenizerWrapper
    from transformers import PreTrainedTokenizerFast

    tokenizer.add_special_tokens([AddedToken("<end>", special=True)])
    made = (kind or PreTrainedTokenizerFast)(tokenizer_object=tokenizer, eos_token="<end>", **options)
    return TokenizerWrapper(made)


def byte_level() -> Any:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("n", "a"), ("m", "e"), ("na", "me"), ("{", '"')]
    vocab = {token: i for i, token in enumerate([*alphabet, *("".join(pair) for pair in merges)])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return wrap(tokenizer)


def sentencepiece(decoder: Any) -> Any:
    """BPE with byte fallback, as Llama's and Gemma's."""
    tokens = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *WORDS, *map(chr, range(33, 127))]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>", byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    tokenizer.decoder = decoder
    return wrap(tokenizer, unk_token="<unk>")


def spm_steps(*more: Any) -> Any:
    return decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *more])


def metaspace() -> Any:
    """Unigram without bytes, but with every character that the tests write."""
    pieces = ["<unk>", "▁", "▁name", "na", "é", "東", *map(chr, range(33, 127)), "\n", "\t"]
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="never")
    return wrap(tokenizer, unk_token="<unk>")


KINDS: dict[str, Callable[[], Any]] = {
    "byte-level": byte_level,
    "sentencepiece": lambda: sentencepiece(spm_steps()),
    "sentencepiece that strips": lambda: sentencepiece(spm_steps(decoders.Strip(" ", 1, 0))),
    "metaspace": metaspace,
}


@pytest.mark.parametrize("kind", ["byte-level", "sentencepiece", "sentencepiece that strips"])
def test_text_goes_through_token_by_token(kind: str) -> None:
    tokenizer = KINDS[kind]()
    constraint = Matching(
        Grammar.from_schema(SCHEMA), vocabulary_of(tokenizer, tokenizer.eos_token_ids), len(tokenizer) + 5
    )
    for token in tokenizer.encode(TEXT, add_special_tokens=False):
        assert constraint.allowed()[0, token].item(), tokenizer.convert_ids_to_tokens(token)
        constraint.accept(token)
    assert constraint.is_over


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_allowed_decodes_to_what_fits(kind: str) -> None:
    """Take the first token that is allowed, over and over: the text is always the grammar's."""
    tokenizer = KINDS[kind]()
    grammar = Grammar.from_regex('name (é|東){2} "[a-c]{3}"')
    constraint = Matching(grammar, vocabulary_of(tokenizer, tokenizer.eos_token_ids), len(tokenizer))
    ids: list[int] = []
    while not constraint.is_over:
        row: Any = constraint.allowed()[0].tolist()
        ids.append(row.index(True))
        constraint.accept(ids[-1])
    assert tokenizer.decode(ids) in {f'name {x}{y} "aaa"' for x in "é東" for y in "é東"}


def test_a_tokenizer_without_bytes_is_refused(build_wordpiece: Callable[[], Any]) -> None:
    with pytest.raises(UnsupportedError, match="cannot be constrained: can't determine decoder"):
        vocabulary_of(build_wordpiece(), {0})


def test_a_tokenizer_that_decodes_by_its_own_rules_is_refused() -> None:
    from mlx_lm.tokenizer_utils import NewlineTokenizer

    inner = byte_level().backend_tokenizer
    with pytest.raises(UnsupportedError, match="NewlineTokenizer"):
        vocabulary_of(wrap(inner, NewlineTokenizer), {0})


@pytest.fixture
def build_wordpiece() -> Callable[[], Any]:
    def build() -> Any:
        tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1, "##b": 2}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.decoder = decoders.WordPiece(cleanup=False)
        return wrap(tokenizer, unk_token="[UNK]")

    return build
