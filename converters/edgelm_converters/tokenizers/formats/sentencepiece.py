"""A sentencepiece `tokenizer.model` (BPE or unigram) as tokenizer.json, with the same ids.

Llama 3 gave the same name to a tiktoken rank file; it is told apart by content (`tiktoken.py`).

Where ids still differ from sentencepiece's: "<s>" and other control tokens are recognised in text (chat
templates need that); a text that is exactly one user-defined symbol gains no dummy prefix; "<0x0A>", written
out, is one byte to a unigram model that lacks the character "<"; and where a charsmap has rules for both
a character and its combination with an accent, `tokenizers` applies the shorter one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelm.errors import FormatError, NotFoundError, UnsupportedError
from edgelm_converters.tokenizers.algorithms.spm import SpmRules, build_bpe, build_unigram
from edgelm_converters.tokenizers.formats.charsmap import check_charsmap
from edgelm_converters.tokenizers.formats.tiktoken import build_llama3, is_rank_file
from edgelm_converters.tokenizers.metadata import is_unicode
from edgelm_converters.tokenizers.special import SpecialTokens
from edgelm_converters.tokenizers.vocabulary import TokenType, TokenVocabulary
from edgelm_converters.tokenizers.write import write_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MAX_SIZE_BYTES = 64 * 2**20
"""The largest published file (256k pieces) has 5 MB."""
UNIGRAM, BPE = 1, 2
"""TrainerSpec.ModelType (sentencepiece_model.proto)."""


def write_sentencepiece_tokenizer(
    model_file: Path,
    directory: Path,
    *,
    add_bos: bool = True,
    add_eos: bool = False,
    chat_template: str | None = None,
    extra_special: Sequence[str] = (),
    eos: str | None = None,
) -> None:
    """Write the tokenizer of `model_file`.

    Args:
        model_file: a sentencepiece model, or a tiktoken rank file of Llama 3.
        directory: exists; tokenizer.json, tokenizer_config.json and chat_template.jinja are written.
        add_bos: put BOS before what is encoded, if the model has one.
        add_eos: put EOS after it, if the model has one.
        extra_special: control tokens that take the ids after the vocabulary, in order.
        eos: the token that ends an answer, if it is not the model's own EOS.

    Raises:
        NotFoundError: no such file.
        FormatError: neither a sentencepiece model nor a rank file, or a broken one.
        UnsupportedError: a word or character model, or normalization that has no equivalent.
    """
    data = _read(model_file)
    if is_rank_file(data):
        tokenizer, special = build_llama3(data, eos=eos, add_bos=add_bos, add_eos=add_eos, origin=model_file)
    else:
        model = _parse(data, model_file)
        vocabulary = _vocabulary(model, model_file)
        tokenizer = _build(model, vocabulary)
        special = _special_tokens(model, vocabulary, eos=eos, add_bos=add_bos, add_eos=add_eos)
    _add_extra(tokenizer, extra_special, model_file)
    if special.eos is not None and tokenizer.token_to_id(special.eos) is None:
        raise FormatError(f"the EOS token {special.eos!r} is not in the vocabulary: {model_file}")
    write_tokenizer(tokenizer, special, directory, chat_template=chat_template)


def is_sentencepiece(path: Path) -> bool:
    """Tell whether a `tokenizer.model` is to be read by sentencepiece: it is no rank file of tiktoken.

    Raises:
        NotFoundError: no such file.
        FormatError: it is neither, or broken.
        UnsupportedError: see `write_sentencepiece_tokenizer`.
    """
    data = _read(path)
    if is_rank_file(data):
        return False
    _vocabulary(_parse(data, path), path)
    return True


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise NotFoundError(f"{path} does not exist, expected a tokenizer.model")
    size_bytes = path.stat().st_size
    if size_bytes > MAX_SIZE_BYTES:
        raise FormatError(
            f"{path} has {size_bytes} bytes, expected a tokenizer.model of at most {MAX_SIZE_BYTES}"
        )
    return path.read_bytes()


def _parse(data: bytes, origin: Path) -> Any:
    """The file as sentencepiece's ModelProto."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise FormatError(f"{origin} is neither a sentencepiece model nor a tiktoken rank file") from error
    if not model.pieces:
        raise FormatError(f"{origin} holds no pieces, expected a sentencepiece model")
    if model.trainer_spec.model_type not in (UNIGRAM, BPE):
        raise UnsupportedError(f"{origin} is a word or character model, expected BPE or unigram")
    if model.trainer_spec.treat_whitespace_as_suffix or not model.normalizer_spec.escape_whitespaces:
        raise UnsupportedError(
            f'{origin} does not write a space as "▁" before the word, expected the default'
        )
    return model


def _vocabulary(model: Any, origin: Path) -> TokenVocabulary:
    tokens = tuple(piece.piece for piece in model.pieces)
    for index, token in enumerate(tokens):
        # protobuf gives bytes for a string that is not UTF-8.
        if not token or not isinstance(token, str) or not is_unicode(token):
            raise FormatError(f"piece {index} is {token!r}, expected text: {origin}")
    scores = tuple(piece.score for piece in model.pieces)
    if any(score != score or abs(score) == float("inf") for score in scores):
        raise FormatError(f"a piece has a score that is not finite: {origin}")
    return TokenVocabulary(tokens, tuple(TokenType(piece.type) for piece in model.pieces), scores, origin)


def _build(model: Any, vocabulary: TokenVocabulary) -> Tokenizer:
    spec = model.normalizer_spec
    if spec.precompiled_charsmap:
        check_charsmap(spec.precompiled_charsmap, vocabulary.origin)
    rules = SpmRules(
        add_prefix=spec.add_dummy_prefix,
        collapse_spaces=spec.remove_extra_whitespaces,
        charsmap=spec.precompiled_charsmap,
        byte_fallback=model.trainer_spec.byte_fallback,
        user_defined=tuple(filter(_is_met, vocabulary.of_type({TokenType.USER_DEFINED}))),
    )
    unknown = vocabulary.of_type({TokenType.UNKNOWN})
    if len(unknown) != 1:
        raise FormatError(f"{len(unknown)} pieces are the unknown piece, expected one: {vocabulary.origin}")
    ((unk, unk_id),) = unknown.items()
    unigram = model.trainer_spec.model_type == UNIGRAM
    tokenizer = build_unigram(vocabulary, rules, unk_id) if unigram else build_bpe(vocabulary, rules, unk)
    added = vocabulary.added_tokens(normalized_user=True)
    tokenizer.add_tokens([token for token in added if token.special or _is_met(token.content)])
    return tokenizer


def _is_met(symbol: str) -> bool:
    """Tell whether sentencepiece ever finds a user-defined symbol: in normalized text there is no space, but "▁" for each."""
    return " " not in symbol


def _special_tokens(
    model: Any, vocabulary: TokenVocabulary, *, eos: str | None, add_bos: bool, add_eos: bool
) -> SpecialTokens:
    control = vocabulary.of_type({TokenType.CONTROL, TokenType.UNKNOWN})
    spec = model.trainer_spec
    bos, own_eos, pad, unk = (
        piece if piece in control else None
        for piece in (spec.bos_piece, spec.eos_piece, spec.pad_piece, spec.unk_piece)
    )
    eos = eos or own_eos
    return SpecialTokens(
        vocabulary.origin,
        bos=bos,
        eos=eos,
        unk=unk,
        pad=pad,
        add_bos=add_bos and bos is not None,
        add_eos=add_eos and eos is not None,
    )


def _add_extra(tokenizer: Tokenizer, tokens: Sequence[str], origin: Path) -> None:
    from tokenizers import AddedToken

    for token in tokens:
        if not token or tokenizer.token_to_id(token) is not None:
            raise FormatError(
                f"extra special token {token!r} is empty or already in the vocabulary: {origin}"
            )
        tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True)])
