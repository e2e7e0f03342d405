"""The tokenizer of a model as transformers makes it of its files: what it does, not what the files say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from edgelm.errors import UnsupportedError
from edgelm.model.load import load_tokenizer

_PROBE = "water"


@dataclass(frozen=True)
class PublishedTokenizer:
    """A loaded tokenizer, for reading."""

    loaded: Any
    """transformers' tokenizer, in mlx-lm's wrapper or not."""
    directory: Path

    @classmethod
    def load(cls, directory: Path, config: Mapping[str, Any], source: str) -> PublishedTokenizer:
        """Load the tokenizer in `directory`.

        Raises:
            NotFoundError, FormatError, UnsafeError: see `load_tokenizer`.
            UnsupportedError: it is not one of the library `tokenizers`, which alone can be read.
        """
        loaded = load_tokenizer(directory, dict(config), shown=source)
        if not hasattr(loaded, "backend_tokenizer"):
            raise UnsupportedError(
                f"the tokenizer of {source} is Python code of transformers, expected one that has a tokenizer.json"
            )
        return cls(loaded, directory)

    @cached_property
    def json(self) -> dict[str, Any]:
        """Return what tokenizer.json would say of it."""
        found: dict[str, Any] = json.loads(self.loaded.backend_tokenizer.to_str())
        return found

    @property
    def model(self) -> dict[str, Any]:
        """Return its model: type, vocabulary, merges."""
        found: dict[str, Any] = self.json["model"]
        return found

    @cached_property
    def added(self) -> dict[int, dict[str, Any]]:
        """Return the tokens that are matched whole in text, by id."""
        return {token["id"]: token for token in self.json.get("added_tokens", [])}

    @property
    def is_byte_level(self) -> bool:
        """Tell whether its alphabet is GPT-2's 256 printable characters."""
        return "ByteLevel" in json.dumps(self.json.get("decoder")) or "ByteLevel" in json.dumps(
            self.json.get("pre_tokenizer")
        )

    @cached_property
    def merges(self) -> list[tuple[str, str]]:
        """Return the merges, best first."""
        return [
            (left, right)
            for left, right in (
                each if isinstance(each, list | tuple) else tuple(each.split(" ", 1))
                for each in self.model.get("merges") or ()
            )
        ]

    def role(self, name: str) -> int | None:
        """Return the id of a role ("bos", "eos", "unk", "pad"), None where it has none."""
        value = getattr(self.loaded, f"{name}_token_id", None)
        return value if isinstance(value, int) else None

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Return the ids of `text`; with what is put around it if `special`."""
        return list(self.loaded.encode(text, add_special_tokens=special))

    @cached_property
    def puts_around(self) -> tuple[bool, bool]:
        """Tell whether BOS is put before a text, and EOS behind it."""
        ids, bare = self.encode(_PROBE, special=True), self.encode(_PROBE)
        begins = len(ids) > len(bare) and ids[0] == self.role("bos")
        ends = len(ids) > len(bare) and ids[-1] == self.role("eos")
        return begins, ends

    @cached_property
    def templates(self) -> dict[str, str]:
        """Return the chat templates by name; that of "default" is the usual one."""
        said = getattr(self.loaded, "chat_template", None)
        if isinstance(said, str):
            return {"default": said}
        return dict(said) if isinstance(said, dict) else {}
