"""llama.cpp's name of how a byte-level tokenizer splits text into words (`tokenizer.ggml.pre`).

llama.cpp knows published tokenizers by a hash of the ids that they make of one text, of a table that its maintainers fill
(pre_tokenizers.json). A tokenizer that was trained anew, or has more tokens, is in no table: it gets the name of a splitter
that splits the same texts into the same words.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from edgelm.errors import UnsupportedError
from edgelm_converters.targets.gguf.tokenizer.published import PublishedTokenizer
from edgelm_converters.tokenizers.algorithms.pretokenizers import SPLITTERS, WordSplitter, build_pre_tokenizer

_USUAL = ("gpt-2", "llama-bpe", "qwen2", "qwen35", "gpt-4o", "tekken", "deepseek-v3", "smollm", "starcoder")
"""Names that are tried first: of several that split alike, those of the families that most tokenizers come from."""


@cache
def _table() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(__file__).with_name("pre_tokenizers.json").read_text("utf-8"))
    return found


def pre_tokenizer_name(
    published: PublishedTokenizer, samples: Sequence[str], source: str
) -> tuple[str, bool]:
    """Return llama.cpp's name of the tokenizer's splitter, and whether its own table has it.

    Args:
        samples: texts that a splitter must split as the tokenizer does.

    Raises:
        UnsupportedError: none of llama.cpp's does.
    """
    text = _table()["text"]
    ids = published.encode(text, special=True)
    name = _table()["names"].get(hashlib.sha256(str(ids).encode()).hexdigest())
    if name is not None:
        return str(name), True
    texts = [text, *samples]
    words = [_words(published.loaded.backend_tokenizer.pre_tokenizer, each) for each in texts]
    ignores = bool(published.model.get("ignore_merges"))
    composes = '"NFC"' in json.dumps(published.json.get("normalizer"))
    for candidate in dict.fromkeys((*_USUAL, *SPLITTERS)):
        splitter = SPLITTERS[candidate]
        if (splitter.whole_words, splitter.nfc) != (ignores, composes):
            continue
        if _split(splitter, texts) == words:
            return candidate, False
    raise UnsupportedError(
        f"no pre-tokenizer of llama.cpp's that edgelm knows splits text as the tokenizer of {source} does",
        hint="llama.cpp would cut text otherwise than the model was trained on; edgelm itself runs it as it is",
    )


def _split(splitter: WordSplitter, texts: Sequence[str]) -> list[list[str]]:
    built = build_pre_tokenizer(splitter)
    return [_words(built, text) for text in texts]


def _words(splitter: Any, text: str) -> list[str]:
    return [word for word, _ in splitter.pre_tokenize_str(text)]
