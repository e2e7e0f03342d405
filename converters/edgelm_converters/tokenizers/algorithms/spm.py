r"""sentencepiece's BPE and unigram models as `tokenizers` tokenizers.

Text is normalized whole (charsmap, white space, dummy prefix, " " → "▁") and merged whole: no
pre-tokenizer, as no published one splits exactly where sentencepiece cannot merge.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgelm_converters.tokenizers.algorithms.merges import merges_from_scores
from edgelm_converters.tokenizers.vocabulary import LEARNED, TokenType, TokenVocabulary

if TYPE_CHECKING:
    from tokenizers import Tokenizer, decoders, normalizers

SPACE = "▁"


@dataclass(frozen=True)
class SpmRules:
    """What sentencepiece's normalizer_spec and trainer_spec say beyond the pieces."""

    add_prefix: bool = True
    """add_dummy_prefix: a space before the text (and, as in llama.cpp, after every control token)."""
    collapse_spaces: bool = False
    """remove_extra_whitespaces: strip both ends, and runs of spaces become one."""
    charsmap: bytes = b""
    """precompiled_charsmap, checked; empty for the identity."""
    byte_fallback: bool = True
    user_defined: tuple[str, ...] = ()
    """Symbols that are matched in the normalized text, after the prefix has been added."""


def build_bpe(
    vocabulary: TokenVocabulary,
    rules: SpmRules,
    unk: str | None,
    merges: Sequence[tuple[str, str]] | None = None,
) -> Tokenizer:
    """Build a BPE tokenizer without added tokens; `merges` default to those that the scores imply."""
    from tokenizers import Tokenizer
    from tokenizers.models import BPE

    if merges is None:
        merges = merges_from_scores(vocabulary.learned_scores(), vocabulary.origin)
    model = BPE(
        vocab=vocabulary.ids,
        merges=list(merges),
        unk_token=unk,
        fuse_unk=True,
        byte_fallback=rules.byte_fallback,
    )
    return _with_rules(Tokenizer(model), rules)


def build_unigram(vocabulary: TokenVocabulary, rules: SpmRules, unk_id: int) -> Tokenizer:
    """Build a unigram tokenizer without added tokens."""
    from tokenizers import Tokenizer
    from tokenizers.models import Unigram

    pieces = list(zip(vocabulary.tokens, _path_scores(vocabulary), strict=True))
    return _with_rules(Tokenizer(Unigram(pieces, unk_id=unk_id, byte_fallback=rules.byte_fallback)), rules)


def _path_scores(vocabulary: TokenVocabulary) -> list[float]:
    """Scores that keep bytes, control tokens and unused pieces out of every best path.

    sentencepiece leaves them out of its search (unigram_model.cc); `tokenizers` searches all of them,
    where they would win: "<0x0A>" in a text has the best score there is, 0.
    """
    assert vocabulary.scores is not None
    learned = vocabulary.of_type(LEARNED | {TokenType.USER_DEFINED}).values()
    lowest = min((vocabulary.scores[index] for index in learned), default=0.0)
    never = 64 * (min(lowest, 0.0) - 10.0)
    kept = frozenset(learned)
    return [score if index in kept else never for index, score in enumerate(vocabulary.scores)]


def _with_rules(tokenizer: Tokenizer, rules: SpmRules) -> Tokenizer:
    tokenizer.normalizer = _normalizer(rules)
    tokenizer.decoder = _decoder(rules)
    return tokenizer


def _normalizer(rules: SpmRules) -> normalizers.Normalizer:
    from tokenizers import Regex, normalizers

    steps: list[normalizers.Normalizer] = []
    if rules.charsmap:
        steps.append(normalizers.Precompiled(rules.charsmap))
    if rules.collapse_spaces:
        # Only U+0020, and at the end also a literal "▁": normalizer.cc strips after escaping.
        steps += [
            normalizers.Replace(Regex(p), by) for p, by in ((r"\A +", ""), (r"[ ▁]+\z", ""), (r" {2,}", " "))
        ]
    if rules.add_prefix:
        steps.append(_prefix(rules.user_defined))
    steps.append(normalizers.Replace(" ", SPACE))
    return normalizers.Sequence(steps)


def _prefix(user_defined: Sequence[str]) -> normalizers.Normalizer:
    from tokenizers import Regex, normalizers

    if not user_defined:
        return normalizers.Prepend(SPACE)
    # `tokenizers` normalizes the spelling of a token before it looks for it in normalized text. The spelling
    # alone must not gain a prefix, or "a<tag>" would no longer match.
    alternatives = "|".join(re.escape(token) for token in user_defined)
    return normalizers.Replace(Regex(rf"\A(?=[\s\S])(?!(?:{alternatives})\z)"), SPACE)


def _decoder(rules: SpmRules) -> decoders.Decoder:
    """One of the two forms that mlx-lm recognises as sentencepiece's."""
    from tokenizers import decoders

    steps: list[decoders.Decoder] = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if rules.add_prefix:
        steps.append(decoders.Strip(" ", 1, 0))
    return decoders.Sequence(steps)
