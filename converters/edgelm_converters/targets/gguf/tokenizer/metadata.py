"""A tokenizer as GGUF's key-values.

Sources: llama.cpp's conversion/base.py (`_set_vocab_gpt2`, `_set_vocab_sentencepiece`) and gguf/vocab.py (`SpecialVocab`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgelm.errors import UnsupportedError
from edgelm_converters.targets.gguf.tokenizer.pre import pre_tokenizer_name
from edgelm_converters.targets.gguf.tokenizer.published import PublishedTokenizer
from edgelm_converters.targets.gguf.tokenizer.tokens import scores_of, tokens_of
from edgelm_converters.tokenizers.control import ROLES, find_control

GGML = "tokenizer.ggml."
TEMPLATE = "tokenizer.chat_template"
ROLE_NAMES = {"bos": "bos", "eos": "eos", "unknown": "unk", "padding": "pad"}
"""llama.cpp's name of a role → transformers'."""


@dataclass(frozen=True, slots=True)
class TokenizerMetadata:
    """Key-values, and what is to be told of them."""

    values: dict[str, Any]
    notes: tuple[str, ...]


def tokenizer_metadata(
    published: PublishedTokenizer,
    architecture: str,
    rows: int,
    ends: Sequence[int],
    padding: int | None,
    samples: Sequence[str],
    source: str,
) -> TokenizerMetadata:
    """Return what a file says of its tokenizer.

    Args:
        rows: of the embedding.
        ends: ids that end an answer, as the model's configs have them.
        padding: the config's id of padding, for a tokenizer that names none.
        samples: texts on which a pre-tokenizer is told by what it does.

    Raises:
        UnsupportedError: a kind of tokenizer, or a way to split text, that edgelm cannot write for llama.cpp.
    """
    kind = _kind(published, architecture, source)
    tokens, types = tokens_of(published, rows)
    notes = []
    values: dict[str, Any] = {f"{GGML}model": kind}
    if kind == "gpt2":
        name, is_listed = pre_tokenizer_name(published, samples, source)
        values[f"{GGML}pre"] = name
        if not is_listed:
            notes.append(f"llama.cpp's table lacks this tokenizer; text is split as by {name!r}")
    elif kind == "llama":
        values[f"{GGML}pre"] = "default"
    values[f"{GGML}tokens"] = tokens
    values[f"{GGML}token_type"] = [int(each) for each in types]
    if kind == "llama":
        values[f"{GGML}scores"] = scores_of(published.merges, tokens, types)
        values[f"{GGML}add_space_prefix"] = _adds_prefix(published)
    else:
        values[f"{GGML}merges"] = [
            f"{left.replace(' ', chr(288))} {right.replace(' ', chr(288))}"
            for left, right in published.merges
        ]
    values |= _roles(published, tokens, types, ends, rows)
    if padding is not None and padding < rows:
        values.setdefault(f"{GGML}padding_token_id", padding)
    beyond = sum(index >= rows for index in (*published.model["vocab"].values(), *published.added))
    if beyond:
        notes.append(f"{beyond} tokens have no row of the embedding, and were left out")
    return TokenizerMetadata(values | _templates(published.templates), tuple(notes))


def _kind(published: PublishedTokenizer, architecture: str, source: str) -> str:
    said = published.model.get("type")
    if said == "BPE" and published.is_byte_level:
        return "gpt2"
    if said == "BPE" and published.model.get("byte_fallback"):
        return "gemma4" if architecture == "gemma4" else "llama"
    raise UnsupportedError(
        f"the tokenizer of {source} is {said} without byte-level tokens or byte fallback, expected BPE with one of them",
        hint="llama.cpp would cut text otherwise than the model was trained on; edgelm itself runs it as it is",
    )


def _adds_prefix(published: PublishedTokenizer) -> bool:
    """Whether a space is put before a text: it is the first character of the first token then."""
    tokens = published.loaded.backend_tokenizer.encode("water", add_special_tokens=False).tokens
    return bool(tokens) and tokens[0].startswith("▁")


def _roles(
    published: PublishedTokenizer, tokens: Sequence[str], types: Sequence[Any], ends: Sequence[int], rows: int
) -> dict[str, Any]:
    ids = {role: published.role(name) for role, name in ROLE_NAMES.items()}
    known = {role: index for role, index in ids.items() if index is not None and index < rows}
    if "eos" not in known and ends:
        known["eos"] = ends[0]
    named = {role: index for role, index in known.items() if role in ROLES}
    told = find_control(tokens, types, named).ends
    missing = [index for index in ends if index not in told and index < rows]
    known |= dict(zip(("eot", "eom"), missing, strict=False))
    values: dict[str, Any] = {f"{GGML}{role}_token_id": index for role, index in known.items()}
    begins, closes = published.puts_around
    if "bos" in known:
        values[f"{GGML}add_bos_token"] = begins
    if "eos" in known:
        values[f"{GGML}add_eos_token"] = closes
    return values


def _templates(templates: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    others = {name: text for name, text in templates.items() if name != "default"}
    if others:
        found["tokenizer.chat_templates"] = list(others)
        found |= {f"{TEMPLATE}.{name}": text for name, text in others.items()}
    if "default" in templates:
        found[TEMPLATE] = templates["default"]
    return found
