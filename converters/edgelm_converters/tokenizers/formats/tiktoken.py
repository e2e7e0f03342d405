"""tiktoken rank files, Llama 3's `tokenizer.model`: a line a token, in base64, and its rank."""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path
from typing import TYPE_CHECKING

from edgelm.errors import FormatError, UnsupportedError
from edgelm_converters.tokenizers.algorithms.byte_level import build_byte_level
from edgelm_converters.tokenizers.algorithms.merges import merges_from_ranks, spell_bytes
from edgelm_converters.tokenizers.algorithms.pretokenizers import SPLITTERS
from edgelm_converters.tokenizers.metadata import shorten
from edgelm_converters.tokenizers.special import SpecialTokens
from edgelm_converters.tokenizers.vocabulary import MAX_PIECE_LENGTH, TokenType, TokenVocabulary

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FIRST_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2} [0-9]{1,9}\r?\n")
LLAMA4_RANKS = 200_000
"""Llama 4's file has as many, another splitter and other special tokens."""

_NAMED = {
    0: "<|begin_of_text|>",
    1: "<|end_of_text|>",
    4: "<|finetune_right_pad_id|>",
    6: "<|start_header_id|>",
    7: "<|end_header_id|>",
    8: "<|eom_id|>",
    9: "<|eot_id|>",
    10: "<|python_tag|>",
}


def llama3_special_tokens() -> list[str]:
    """List the 256 tokens after the ranks, in the names of Llama 3.1's published tokenizer.json.

    Llama 3.0 spells ids 4, 8 and 10 as reserved; the file is the same for both, and they were unused there.
    """
    names, reserved = [], 0
    for index in range(256):
        name = _NAMED.get(index)
        if name is None:
            name, reserved = f"<|reserved_special_token_{reserved}|>", reserved + 1
        names.append(name)
    return names


def is_rank_file(data: bytes) -> bool:
    """Tell whether the first line is base64 and a number."""
    return FIRST_LINE.match(data[:4096]) is not None


def build_llama3(
    data: bytes, *, eos: str | None, add_bos: bool, add_eos: bool, origin: Path
) -> tuple[Tokenizer, SpecialTokens]:
    """Build the tokenizer of a rank file, with Llama 3's splitter and special tokens.

    Raises:
        FormatError: a line that is not base64 and a rank, ranks with gaps, or not every byte a token.
        UnsupportedError: the ranks are Llama 4's.
    """
    ranks = read_ranks(data, origin)
    if len(ranks) >= LLAMA4_RANKS:
        raise UnsupportedError(f"the rank file has {len(ranks)} tokens, expected Llama 3's 128000: {origin}")
    ordered = sorted(ranks, key=ranks.__getitem__)
    spelled = dict(zip(ordered, spell_bytes(ordered), strict=True))
    special = llama3_special_tokens()
    kinds = [TokenType.NORMAL] * len(ordered) + [TokenType.CONTROL] * len(special)
    vocabulary = TokenVocabulary((*spelled.values(), *special), tuple(kinds), None, origin)
    merges = [(spelled[left], spelled[right]) for left, right in merges_from_ranks(ranks, origin)]
    roles = SpecialTokens(
        origin, bos=_NAMED[0], eos=eos or _NAMED[1], pad=_NAMED[4], add_bos=add_bos, add_eos=add_eos
    )
    return build_byte_level(vocabulary, merges, SPLITTERS["llama3"]), roles


def read_ranks(data: bytes, origin: Path) -> dict[bytes, int]:
    """Read tokens and their ranks.

    Raises:
        FormatError: as `build_llama3`.
    """
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(data.splitlines(), start=1):
        if not line:
            continue
        token, rank = _read_line(line, number, origin)
        if token in ranks:
            raise FormatError(f"line {number} repeats token {shorten(token)}: {origin}")
        ranks[token] = rank
    if sorted(ranks.values()) != list(range(len(ranks))):
        raise FormatError(f"the ranks have gaps or repeat, expected 0 to {len(ranks) - 1}: {origin}")
    if any(bytes([byte]) not in ranks for byte in range(256)):
        raise FormatError(f"not every single byte is a token, expected all 256: {origin}")
    return ranks


def _read_line(line: bytes, number: int, origin: Path) -> tuple[bytes, int]:
    coded, _, rank = line.partition(b" ")
    try:
        token = base64.b64decode(coded, validate=True)
    except binascii.Error:
        token = b""
    if not 0 < len(token) <= MAX_PIECE_LENGTH or not re.fullmatch(rb"[0-9]{1,9}", rank):
        raise FormatError(
            f"line {number} is {shorten(line)}, expected a token in base64 and its rank: {origin}"
        )
    return token, int(rank)
