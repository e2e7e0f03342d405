"""Small tokenizers of every decoder kind, built in code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

CORPUS = [
    "The capital of France is Paris, and it's lovely there.",
    "def add(a, b):\n    return a + b\n",
    "naïve café 東京 emoji 🎉 don't won't we've they're",
]


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=330, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def byte_fallback() -> Tokenizer:
    """Llama's and Mistral's kind: sentencepiece BPE with byte fallback, leading space stripped."""
    words = ["▁", "▁The", "▁Paris", "▁is", "ing", "a", "b", "é", "東", ".", "'", "▁don", "t", "\n"]
    tokens = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    vocab = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>", byte_fallback=True))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def metaspace() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(CORPUS, trainers.UnigramTrainer(vocab_size=80, unk_token="<unk>"))
    return tokenizer


def wordpiece() -> Tokenizer:
    words = [
        "[UNK]",
        "the",
        "do",
        "n",
        "t",
        "n't",
        "'",
        "s",
        "ve",
        "re",
        "m",
        ".",
        ",",
        "!",
        "?",
        "##ing",
        "##s",
    ]
    vocab = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    return tokenizer


KINDS: dict[str, tuple[Callable[[], Tokenizer], dict[str, Any]]] = {
    "byte_level": (byte_level, {}),
    "byte_fallback": (byte_fallback, {"unk_token": "<unk>"}),
    "metaspace": (metaspace, {}),
    "wordpiece": (wordpiece, {"clean_up_tokenization_spaces": True}),
}


@pytest.fixture(scope="session")
def build_tokenizer() -> Callable[..., Any]:
    """`build(kind, markers=...)` → mlx-lm's TokenizerWrapper; `<end>` is special, the markers are not."""

    def build(kind: str, markers: tuple[str, ...] = (), **wrapping: Any) -> Any:
        from mlx_lm.tokenizer_utils import TokenizerWrapper
        from transformers import PreTrainedTokenizerFast

        make, options = KINDS[kind]
        tokenizer = make()
        tokenizer.add_special_tokens([AddedToken("<end>", special=True)])
        tokenizer.add_tokens([AddedToken(marker, special=False) for marker in markers])
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", **options)
        return TokenizerWrapper(fast, **wrapping)

    return build


@pytest.fixture(scope="session", params=sorted(KINDS))
def tokenizer(request: pytest.FixtureRequest, build_tokenizer: Callable[..., Any]) -> Any:
    """One tokenizer of each kind, with an added token that is not special."""
    return build_tokenizer(request.param, ("<think>",))
