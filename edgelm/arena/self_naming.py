"""Answers that say who wrote them, which makes a comparison no longer blind. Knows texts and names alone."""

from __future__ import annotations

import re
from collections.abc import Iterable

_MAKERS = (
    "qwen", "alibaba", "smollm", "hugging ?face", "llama", "meta ai", "gemma", "gemini", "google", "mistral", "phi",
    "microsoft", "deepseek", "gpt", "chatgpt", "openai", "claude", "anthropic", "granite", "ibm", "olmo", "ai2", "nemotron",
    "glm", "zhipu", "kimi", "moonshot", "yi", "falcon", "command r", "cohere", "grok", "lfm", "liquid ai",
)  # fmt: skip
_SELF = r"\b(?:i am|i'm|i’m|i was|my name is|call me|ich bin|je suis|soy|我是)\b"
_NAMED = re.compile(rf"{_SELF}[^.!?\n]{{0,60}}?\b(?:{'|'.join(_MAKERS)})\b", re.IGNORECASE)


def names_itself(text: str, names: Iterable[str] = ()) -> bool:
    """Tell whether `text` says of itself who made it, or holds one of `names` (of four letters or more) as a word."""
    if _NAMED.search(text):
        return True
    longer = [re.escape(name) for name in names if len(name) >= 4]
    return (
        bool(longer) and re.search(rf"(?<!\w)(?:{'|'.join(longer)})(?!\w)", text, re.IGNORECASE) is not None
    )
