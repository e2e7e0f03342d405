"""Byte-level BPE (GPT-2's kind): vocabulary, merges and a splitter as a `tokenizers` tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgelm_converters.tokenizers.algorithms.pretokenizers import (
    WordSplitter,
    build_normalizer,
    build_pre_tokenizer,
)
from edgelm_converters.tokenizers.vocabulary import TokenVocabulary

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def build_byte_level(
    vocabulary: TokenVocabulary,
    merges: Sequence[tuple[str, str]],
    splitter: WordSplitter,
    *,
    strip_right: bool = False,
) -> Tokenizer:
    """Build a tokenizer without special roles. `merges` name only tokens of the vocabulary, best first."""
    from tokenizers import Tokenizer, decoders
    from tokenizers.models import BPE

    model = BPE(vocab=vocabulary.ids, merges=list(merges), ignore_merges=splitter.whole_words)
    tokenizer = Tokenizer(model)
    normalizer = build_normalizer(splitter)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = build_pre_tokenizer(splitter)
    # mlx-lm takes its fast detokenizer from exactly this form.
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens(vocabulary.added_tokens(strip_right=strip_right))
    return tokenizer
