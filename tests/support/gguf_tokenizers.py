"""Tokenizers of the kinds that llama.cpp's converter asks of some families; entries up to VOCAB at most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from checkpoints import VOCAB
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaTokenizer, PreTrainedTokenizerFast

SPECIAL = ("<s>", "</s>", "<|user|>", "<|assistant|>")
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""How Qwen 2's published tokenizer splits text: its tokenizer.json."""


def write_qwen2_tokenizer(directory: Path) -> None:
    """A byte-level tokenizer that splits text as Qwen 2's does."""
    tokenizer = _byte_level()
    tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(QWEN2), "isolated")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, level])
    _save(tokenizer, SPECIAL, sorted(pre_tokenizers.ByteLevel.alphabet()), directory)


def write_glm_tokenizer(directory: Path) -> None:
    """A byte-level tokenizer with the tokens that the converter looks up in GLM's."""
    more = ("<|endoftext|>", "[gMASK]", "<|observation|>", "<|system|>", "<|eop|>")
    _save(_byte_level(), (*SPECIAL, *more), sorted(pre_tokenizers.ByteLevel.alphabet()), directory)


def write_byte_fallback_tokenizer(directory: Path) -> None:
    """A BPE tokenizer with byte fallback, as Gemma 4's."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    _save(tokenizer, ("<s>", "</s>", "<unk>"), [], directory, [f"<0x{byte:02X}>" for byte in range(256)])


def write_gemma_tokenizer(directory: Path, prefix: bool = False) -> None:
    """A sentencepiece model with byte fallback, and transformers' own reading of it; `prefix` is a space before a text."""
    from sentencepiece import SentencePieceTrainer

    SentencePieceTrainer.train(
        sentence_iterator=iter(["the water on the mountain boils at a lower temperature, 95.5 degrees"] * 9),
        model_prefix=str(directory / "tokenizer"),
        vocab_size=VOCAB,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=prefix,
        hard_vocab_limit=False,
        minloglevel=3,
        num_threads=1,
    )
    (directory / "tokenizer.vocab").unlink()
    LlamaTokenizer.from_pretrained(directory, legacy=False, add_prefix_space=prefix).save_pretrained(
        directory
    )


def _byte_level() -> Any:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _save(
    tokenizer: Any, special: Sequence[str], alphabet: list[str], directory: Path, more: Sequence[str] = ()
) -> None:
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=[*special, *more], initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator(["the water on the mountain boils at a lower temperature"] * 4, trainer)
    tokenizer.add_special_tokens(list(special))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.save_pretrained(directory)


def write_sentencepiece_tokenizer(directory: Path) -> None:
    """A SentencePiece model of BPE with byte fallback, as Llama 2's, of VOCAB entries."""
    import sentencepiece

    text = "the water on the mountain boils at a lower temperature, and isn't it so? every height has its own degrees"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text] * 4),
        model_prefix=str(directory / "tokenizer"),
        vocab_size=VOCAB,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    (directory / "tokenizer.vocab").unlink()
