"""The tokenizer of a Hugging Face directory, copied or, from a bare `tokenizer.model`, built."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from edgelm.errors import FormatError, NotFoundError
from edgelm.model.config import read_json

PATTERNS = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "tokenizer.model", "*.tiktoken", "chat_template.jinja", "chat_template.json",
    "additional_chat_templates/*",
)  # fmt: skip
"""Everything that transformers reads a tokenizer from; code (`*.py`) is never copied."""


def write_tokenizer_files(source: Path, directory: Path) -> None:
    """Put a working tokenizer into `directory`.

    Raises:
        NotFoundError: `source` has no tokenizer.
        FormatError: tokenizer.json is not JSON.
    """
    found = [path for pattern in PATTERNS for path in sorted(source.glob(pattern)) if path.is_file()]
    names = {path.name for path in found}
    if not names & {"tokenizer.json", "tokenizer.model", "vocab.json"} and not any(
        n.endswith(".tiktoken") for n in names
    ):
        raise NotFoundError(
            f"{source} has no tokenizer (tokenizer.json or tokenizer.model)",
            hint="copy the tokenizer files of the original model into it",
        )
    for path in found:
        target = directory / path.relative_to(source)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, target)
    if "tokenizer.json" in names:
        _check_json(source / "tokenizer.json")
    elif "tokenizer.model" in names:
        _build_fast(source, directory)


def _check_json(path: Path) -> None:
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict) or "model" not in value:
        raise FormatError(f"{path} holds no tokenizer model")


def _build_fast(source: Path, directory: Path) -> None:
    from edgelm_converters.tokenizers import write_sentencepiece_tokenizer

    path = source / "tokenizer_config.json"
    said = read_json(path) if path.exists() else {}
    template = said.get("chat_template")
    write_sentencepiece_tokenizer(
        source / "tokenizer.model",
        directory,
        add_bos=bool(said.get("add_bos_token", True)),
        add_eos=bool(said.get("add_eos_token", False)),
        chat_template=template if isinstance(template, str) else None,
    )
