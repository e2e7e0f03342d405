"""A GGUF file's tokenizer metadata as tokenizer.json: what llama.cpp would do with the same keys.

transformers can do this too, but splits text by an architecture's usual pattern rather than by
`tokenizer.ggml.pre`, and drops control tokens outside the byte alphabet (`<｜begin▁of▁sentence｜>`).
Reads no file; knows nothing of tensors.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelm.errors import FormatError, UnsupportedError
from edgelm_converters.tokenizers.algorithms.byte_level import build_byte_level
from edgelm_converters.tokenizers.algorithms.pretokenizers import SPLITTERS, WordSplitter, splitter_named
from edgelm_converters.tokenizers.algorithms.spm import SPACE, SpmRules, build_bpe
from edgelm_converters.tokenizers.control import ROLES, find_control
from edgelm_converters.tokenizers.metadata import Metadata
from edgelm_converters.tokenizers.special import SpecialTokens
from edgelm_converters.tokenizers.vocabulary import LEARNED, TokenType, TokenVocabulary
from edgelm_converters.tokenizers.write import write_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MODEL = "tokenizer.ggml.model"
PRE = "tokenizer.ggml.pre"
TOKENS = "tokenizer.ggml.tokens"
TYPES = "tokenizer.ggml.token_type"
SCORES = "tokenizer.ggml.scores"
MERGES = "tokenizer.ggml.merges"
TEMPLATE = "tokenizer.chat_template"
TEMPLATE_NAME = re.compile(r"\w[\w-]*")
ADD_BOS = "tokenizer.ggml.add_bos_token"
ADD_EOS = "tokenizer.ggml.add_eos_token"
ADD_PREFIX = "tokenizer.ggml.add_space_prefix"
ENDINGS = ("eos", "eot", "eom")

KINDS = ("gpt2", "llama", "gemma4")
LLAMA_ROLES = {"bos": 1, "eos": 2, "unknown": 0}
"""Ids of the "llama" kind where the file names none (llama-vocab.cpp)."""
BYTE = re.compile(r"<0x[0-9A-F]{2}>")


def write_gguf_tokenizer(metadata: Mapping[str, Any], directory: Path, *, origin: Path) -> None:
    """Write the tokenizer that `metadata` describes.

    Args:
        metadata: a GGUF file's key-values as plain Python values, arrays as lists.
        directory: exists; tokenizer.json, tokenizer_config.json and chat_template.jinja are written,
            and what further templates there are into additional_chat_templates.
        origin: the GGUF file, for messages.

    Raises:
        FormatError: a value is missing, of the wrong type, out of range or contradicts another.
        UnsupportedError: a kind of tokenizer or a pre-tokenizer that is not known.
    """
    values = Metadata(metadata, origin)
    kind = values.text(MODEL)
    if kind is None:
        raise FormatError(f"{MODEL} is missing, expected one of {', '.join(KINDS)}: {origin}")
    if kind not in KINDS:
        raise UnsupportedError(
            f"{MODEL} is {kind[:60]!r}, expected one of {', '.join(KINDS)}: {origin}",
            hint="convert from the model's Hugging Face directory instead",
        )
    splitter = _splitter(values) if kind == "gpt2" else None
    _check_not_overridden(values, splitter)
    tokens = _tokens(values)
    roles = _role_ids(values, kind, len(tokens))
    vocabulary = _vocabulary(values, tokens, roles, kind)
    special = _special_tokens(values, vocabulary, roles, splitter)
    tokenizer = _build(values, kind, vocabulary, splitter, special.unk)
    write_tokenizer(
        tokenizer,
        special,
        directory,
        chat_template=values.text(TEMPLATE),
        named_templates=_named_templates(values),
        context_length=_context_length(values),
    )


def _named_templates(values: Metadata) -> dict[str, str]:
    """`tokenizer.chat_template.tool_use` and its like, which llama.cpp's converter writes beside the default."""
    found = {}
    for key in values.values:
        name = key.removeprefix(f"{TEMPLATE}.") if isinstance(key, str) else ""
        if name != key and TEMPLATE_NAME.fullmatch(name):
            found[name] = values.text(key) or ""
    return found


def _splitter(values: Metadata) -> WordSplitter:
    name = values.text(PRE)
    if name is None:
        raise UnsupportedError(
            f"{PRE} is missing, so how this tokenizer splits text is not known: {values.origin}",
            hint="files from before May 2024 lack it; use a newer conversion of the same model",
        )
    return splitter_named(name, values.origin)


def _check_not_overridden(values: Metadata, splitter: WordSplitter | None) -> None:
    """transformers 5 loads every qwen2 directory with Qwen2's splitter, whatever tokenizer.json says."""
    if values.text("general.architecture") == "qwen2" and splitter != SPLITTERS["qwen2"]:
        name = values.text(PRE) or values.text(MODEL)
        raise UnsupportedError(
            f"the tokenizer is {name!r} in a qwen2 model, expected Qwen2's: {values.origin}"
        )


def _tokens(values: Metadata) -> list[str]:
    tokens = values.texts(TOKENS)
    if not tokens:
        raise values.refuse(TOKENS, tokens, "an array of strings")
    # An empty token can never be matched; llama.cpp gives it this name.
    return [token or f"[EMPTY_{index}]" for index, token in enumerate(tokens)]


def _role_ids(values: Metadata, kind: str, count: int) -> dict[str, int]:
    """Token id by role, as GGUF names roles; only those that the file or its kind has."""
    defaults = LLAMA_ROLES if kind == "llama" else {}
    found = {}
    for role in dict.fromkeys(("bos", *ROLES, "unknown", "padding")):
        index = values.token_id(f"tokenizer.ggml.{role}_token_id", count)
        index = defaults.get(role) if index is None else index
        if index is not None and index < count:
            found[role] = index
    return found


def _vocabulary(values: Metadata, tokens: list[str], roles: Mapping[str, int], kind: str) -> TokenVocabulary:
    codes = values.integers(TYPES, min(TokenType), max(TokenType))
    types = [TokenType(code) for code in codes] if codes is not None else _guess_types(tokens, roles)
    for role in ("bos", *ENDINGS):
        if role in roles and roles[role] < len(types):
            types[roles[role]] = TokenType.CONTROL
    if len(types) == len(tokens):
        types = list(find_control(tokens, types, roles).types)
    scores = values.numbers(SCORES) if kind == "llama" else None
    if kind == "llama" and scores is None:
        raise FormatError(f"{SCORES} is missing, expected a score for each token: {values.origin}")
    found = tuple(scores) if scores is not None else None
    vocabulary = TokenVocabulary(tuple(tokens), tuple(types), found, values.origin)
    return vocabulary if kind == "gpt2" else _with_escaped_spaces(vocabulary)


def _with_escaped_spaces(vocabulary: TokenVocabulary) -> TokenVocabulary:
    """Spell spaces as "▁", as sentencepiece and Gemma 4's merges do: llama.cpp's converter unescapes user-defined tokens.

    One that would then be spelled as another is left as it is: it is matched nowhere, as in sentencepiece.
    """
    user_defined, ids = vocabulary.of_type({TokenType.USER_DEFINED}), vocabulary.ids
    escaped = {token: token.replace(" ", SPACE) for token in user_defined if " " in token}
    escaped = {token: new for token, new in escaped.items() if new not in ids}
    return dataclasses.replace(vocabulary, tokens=tuple(escaped.get(t, t) for t in vocabulary.tokens))


def _guess_types(tokens: list[str], roles: Mapping[str, int]) -> list[TokenType]:
    types = [TokenType.BYTE if BYTE.fullmatch(token) else TokenType.NORMAL for token in tokens]
    if "unknown" in roles:
        types[roles["unknown"]] = TokenType.UNKNOWN
    return types


def _special_tokens(
    values: Metadata, vocabulary: TokenVocabulary, roles: Mapping[str, int], splitter: WordSplitter | None
) -> SpecialTokens:
    def spelled(role: str) -> str | None:
        index = roles.get(role)
        # Some files name an ordinary token ("!") for want of a padding or unknown token. Marked as
        # special, it would vanish from decoded text.
        ordinary = index is not None and role in ("unknown", "padding") and vocabulary.types[index] in LEARNED
        return None if index is None or ordinary else vocabulary.tokens[index]

    add_bos, add_eos = values.flag(ADD_BOS), values.flag(ADD_EOS)
    if add_bos is None:
        add_bos = "bos" in roles and (splitter is None or splitter.add_bos)
    return SpecialTokens(
        values.origin,
        bos=spelled("bos"),
        eos=spelled("eos"),
        unk=spelled("unknown"),
        pad=spelled("padding"),
        add_bos=add_bos,
        add_eos=bool(add_eos),
    )


def _build(
    values: Metadata, kind: str, vocabulary: TokenVocabulary, splitter: WordSplitter | None, unk: str | None
) -> Tokenizer:
    # Phi-3's tokens swallow what follows, which GGUF cannot say; llama.cpp goes by the name too.
    strip_right = re.search(r"phi[- ]?3", values.text("general.name") or "", re.IGNORECASE) is not None
    if splitter is not None:
        return build_byte_level(vocabulary, _merges(values, vocabulary), splitter, strip_right=strip_right)
    add_prefix = values.flag(ADD_PREFIX)
    rules = SpmRules(
        add_prefix=kind == "llama" if add_prefix is None else add_prefix,
        user_defined=tuple(vocabulary.of_type({TokenType.USER_DEFINED})),
    )
    merges = _merges(values, vocabulary) if kind == "gemma4" else None
    tokenizer = build_bpe(vocabulary, rules, unk, merges)
    # In text with its prefix and with spaces as "▁": of "▁▁" and the like, spaces that stand first count too.
    tokenizer.add_tokens(vocabulary.added_tokens(normalized_user=True, strip_right=strip_right))
    return tokenizer


def _merges(values: Metadata, vocabulary: TokenVocabulary) -> list[tuple[str, str]]:
    """The file's merges, "left right"; a token may itself begin with the space."""
    lines = values.texts(MERGES)
    if lines is None:
        raise FormatError(f"{MERGES} is missing, expected an array of merges: {values.origin}")
    ids = vocabulary.ids
    merges = []
    for index, line in enumerate(lines):
        cut = line.find(" ", 1)
        left, right = line[:cut], line[cut + 1 :]
        if cut < 0 or left not in ids or right not in ids or left + right not in ids:
            raise values.refuse(f"{MERGES}[{index}]", line, "two tokens whose join is a token")
        merges.append((left, right))
    return merges


def _context_length(values: Metadata) -> int | None:
    architecture = values.text("general.architecture")
    length = values.values.get(f"{architecture}.context_length")
    return length if type(length) is int and length > 0 else None
