"""The merges that a vocabulary implies.

sentencepiece and tiktoken store no merges: they merge whichever two neighbours spell the best piece.
`tokenizers` wants the pairs listed, best first, so every split of a piece into two pieces is one merge
with the priority of the whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from edgelm.errors import FormatError

Spelling = TypeVar("Spelling", str, bytes)

MAX_MERGES_PER_PIECE = 64
"""On average. Published vocabularies have 2 or 3; a made-up one can imply billions and fill the memory."""


def merges_from_scores(scores: Mapping[str, float], origin: Path) -> list[tuple[str, str]]:
    """Merges of sentencepiece BPE: the higher the score, the earlier (bpe_model.cc).

    Pieces of equal score keep the order of the vocabulary, which is that of `scores`.

    Raises:
        FormatError: as `merges_from_ranks`.
    """
    ranks = {piece: rank for rank, piece in enumerate(sorted(scores, key=lambda piece: -scores[piece]))}
    return merges_from_ranks(ranks, origin)


def merges_from_ranks(ranks: Mapping[Spelling, int], origin: Path) -> list[tuple[Spelling, Spelling]]:
    """Merges of a tiktoken vocabulary: the lower the rank, the earlier.

    Raises:
        FormatError: more merges than any real vocabulary implies.
    """
    merges: list[tuple[Spelling, Spelling]] = []
    for piece in sorted(ranks, key=ranks.__getitem__):
        splits = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece)) if piece[:cut] in ranks]
        known = [split for split in splits if split[1] in ranks]
        merges += sorted(known, key=lambda split: (ranks[split[0]], ranks[split[1]]))
        if len(merges) > MAX_MERGES_PER_PIECE * len(ranks):
            raise FormatError(
                f"{len(ranks)} pieces imply over {len(merges)} merges,"
                f" expected at most {MAX_MERGES_PER_PIECE} a piece: {origin}"
            )
    return merges


def spell_bytes(tokens: Sequence[bytes]) -> list[str]:
    """Spell each token in the alphabet of byte-level BPE: one printable character a byte."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    alphabet = bytes_to_unicode()
    return ["".join(alphabet[byte] for byte in token) for token in tokens]
