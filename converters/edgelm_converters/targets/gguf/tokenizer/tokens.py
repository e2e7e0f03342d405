"""What each id spells, of which type it is, and the scores from which llama.cpp merges sentencepiece's tokens.

Source: llama.cpp's conversion/base.py, `get_vocab_base` and `does_token_look_special`. Of a sentencepiece tokenizer GGUF keeps
no merges but scores: neighbours with the best joint score merge first. A score that falls with the first merge that makes a
token gives the merges' own order; they need not be sentencepiece's own numbers, which a tokenizer.json has not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgelm_converters.targets.gguf.tokenizer.published import PublishedTokenizer
from edgelm_converters.tokenizers.vocabulary import TokenType

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_SPECIAL = frozenset({"<pad>", "<mask>", "<2mass>", "[@BOS@]"})
_UNREACHED = -1e6
"""The score of what no merge makes, behind every other."""


def tokens_of(published: PublishedTokenizer, rows: int) -> tuple[list[str], list[TokenType]]:
    """Return spellings and types by id, as many as the embedding has `rows`.

    Tokens beyond the rows are left out: the network has nothing for them.
    """
    spelled = {index: token for token, index in _vocabulary(published).items()}
    tokens, types = [], []
    unknown = published.role("unk")
    is_sentencepiece = not published.is_byte_level
    for index in range(rows):
        token = published.added[index]["content"] if index in published.added else spelled.get(index)
        if token is None:
            tokens.append(f"[PAD{index}]")
            types.append(TokenType.UNUSED)
            continue
        kind = TokenType.NORMAL
        if index in published.added:
            is_special = published.added[index]["special"] or _looks_special(token)
            kind = TokenType.CONTROL if is_special else TokenType.USER_DEFINED
            if kind == TokenType.USER_DEFINED:
                token = token.replace("▁", " ")
        if is_sentencepiece and index == unknown:
            kind = TokenType.UNKNOWN
        elif is_sentencepiece and _BYTE.fullmatch(token):
            kind = TokenType.BYTE
        tokens.append(token)
        types.append(kind)
    return tokens, types


def _vocabulary(published: PublishedTokenizer) -> dict[str, int]:
    found: dict[str, int] = published.model["vocab"]
    return found


def _looks_special(token: str) -> bool:
    return (
        token in _SPECIAL
        or (token.startswith("<|") and token.endswith("|>"))
        or (token.startswith("<｜") and token.endswith("｜>"))
        or (token.startswith("<unused") and token.endswith(">"))
    )


def scores_of(
    merges: Sequence[tuple[str, str]], tokens: Sequence[str], types: Sequence[TokenType]
) -> list[float]:
    """Return a score for each token: the earlier the first merge that makes it, the higher."""
    made: dict[str, int] = {}
    for rank, (left, right) in enumerate(merges):
        made.setdefault(left + right, rank)
    order = {token: position for position, token in enumerate(made)}
    return [
        0.0
        if kind != TokenType.NORMAL
        else -float(order[token])
        if token in order
        else (_UNREACHED if len(token) > 1 else -float(len(order)))
        for token, kind in zip(tokens, types, strict=True)
    ]
