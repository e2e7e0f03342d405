"""The tokenizer of a Hugging Face directory: copied or, where there is only a `tokenizer.model`, built.

What lies beside the model file is part of the tokenizer: added tokens, the roles of special tokens, the template, the
settings. Where there is any of it, transformers builds from all of it, since it is what others load the directory with; a
`tokenizer.model` alone (Meta's releases) is read as sentencepiece or tiktoken reads it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from edgelm import log
from edgelm.errors import FormatError, NotFoundError
from edgelm.json_files import read_json
from edgelm.zoo.guards import keep_file_limit
from edgelm.zoo.tokenizers import tokenizer_errors

PATTERNS = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt",
    "merges.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "*.tiktoken", "tekken.json",
    "chat_template.jinja", "chat_template.json", "additional_chat_templates/*", "chat_templates/*", "LICENSE*", "LICENCE*",
    "NOTICE*", "USE_POLICY*",
)  # fmt: skip
"""Everything that transformers reads a tokenizer from, and the terms; code (`*.py`) is never copied."""

SIDECARS = frozenset({"tokenizer_config.json", "added_tokens.json", "special_tokens_map.json"})
"""What changes the tokenizer that a `tokenizer.model` makes."""

_MODELS = frozenset(
    {
        "tokenizer.json",
        "tokenizer.model",
        "vocab.json",
        "spiece.model",
        "sentencepiece.bpe.model",
        "vocab.txt",
    }
)


def write_tokenizer_files(source: Path, directory: Path) -> None:
    """Put a working tokenizer into `directory`.

    Raises:
        NotFoundError: `source` has no tokenizer.
        FormatError: one of its files is broken.
        UnsafeError: it is made of Python code in the checkpoint.
    """
    files = [path for pattern in PATTERNS for path in sorted(source.glob(pattern)) if _is_data(path)]
    names = {path.name for path in files if path.parent == source}
    if not names & _MODELS and not any(name.endswith(".tiktoken") for name in names):
        raise NotFoundError(
            f"{source} has no tokenizer (tokenizer.json or tokenizer.model)",
            hint="copy the tokenizer files of the original model into it",
        )
    for path in files:
        target = directory / path.relative_to(source)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, target)
    if "tokenizer.json" in names:
        _check_json(source / "tokenizer.json")
    elif "tokenizer.model" in names:
        _build(source, directory, has_sidecars=bool(names & SIDECARS))


def _is_data(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".")


def built_note(source: Path, directory: Path) -> str | None:
    """Note for the receipt that a tokenizer was built; None if it was copied."""
    built = directory / "tokenizer.json"
    if (
        (source / "tokenizer.json").exists()
        or not (source / "tokenizer.model").exists()
        or not built.exists()
    ):
        return None
    added = len(json.loads(built.read_bytes()).get("added_tokens", ()))
    return f"tokenizer.json was built from tokenizer.model, with {added} added and special tokens"


def _check_json(path: Path) -> None:
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict) or "model" not in value:
        raise FormatError(f"{path} holds no tokenizer model")


def _build(source: Path, directory: Path, *, has_sidecars: bool) -> None:
    from edgelm_converters.tokenizers.formats.sentencepiece import (
        is_sentencepiece,
        write_sentencepiece_tokenizer,
    )

    path = source / "tokenizer.model"
    if has_sidecars and is_sentencepiece(path):
        _build_with_sidecars(source, directory)
    else:
        write_sentencepiece_tokenizer(path, directory)


def _build_with_sidecars(source: Path, directory: Path) -> None:
    """What transformers makes of all the files, saved in the form that loads without them."""
    with keep_file_limit():
        log.silence_known()
        from transformers import AutoTokenizer
    with tokenizer_errors(source):
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False, local_files_only=True)
        tokenizer.save_pretrained(directory)
    if not (directory / "tokenizer.json").exists():
        raise FormatError(f"{source} holds a tokenizer that has no fast form ({type(tokenizer).__name__})")
    _as_it_stands(directory / "tokenizer_config.json", tokenizer)


def _as_it_stands(path: Path, tokenizer: Any) -> None:
    """Name no class that would build the tokenizer anew: transformers 5.24's LlamaTokenizer forgets `legacy` on the way.

    What such a class has by default is written out.
    """
    sides = {"padding_side": tokenizer.padding_side, "truncation_side": tokenizer.truncation_side}
    config = {**read_json(path), **sides, "tokenizer_class": "PreTrainedTokenizerFast"}
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
