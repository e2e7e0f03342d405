"""A prompt: token ids, and the media that some of them stand for.

Placeholder tokens say where an image is and not which. What is computed of them depends on which: so caches are found by
`keys`, in which every placeholder has been replaced by a hash of the content behind it. Plain values; knows no model.

Shapes: T prompt tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import overload

from edgelm.errors import PromptError
from edgelm.units import count

_KEY_BYTES = 7
"""The bits that are kept of a hash: 56, whose negative no token id is and JSON's readers keep exactly."""


@dataclass(frozen=True, slots=True)
class Media:
    """An image, or another thing that is no text, behind placeholder tokens.

    Args:
        start: the first of its placeholders in the prompt.
        tokens: how many there are.
        content: what it is made of, as the network gets it.
    """

    start: int
    tokens: int
    content: bytes = field(repr=False)

    def keys(self) -> list[int]:
        """Return what stands for its placeholders in caches: the same for equal content of equal length alone."""
        digest = hashlib.sha256(b"%d:" % self.tokens + self.content).digest()
        hashes = (hashlib.sha256(digest + b"%d" % place).digest() for place in range(self.tokens))
        return [-2 - int.from_bytes(each[:_KEY_BYTES], "big") for each in hashes]


@dataclass(frozen=True)
class Prompt(Sequence[int]):
    """Token ids `[T]`, and the media that stand behind some of them.

    Raises:
        PromptError: media outside the prompt, or over each other.
    """

    ids: tuple[int, ...]
    media: tuple[Media, ...] = ()

    def __post_init__(self) -> None:
        free = 0
        for each in sorted(self.media, key=lambda each: each.start):
            end = each.start + each.tokens
            if each.tokens < 1 or each.start < free or end > len(self.ids):
                raise PromptError(
                    f"media stand at tokens {each.start} to {end}, expected a place of their own among"
                    f" {count(len(self.ids), 'token')}"
                )
            free = end

    def keys(self) -> list[int]:
        """Return the ids by which caches are found, `[T]`: those of media are negative."""
        keys = list(self.ids)
        for each in self.media:
            keys[each.start : each.start + each.tokens] = each.keys()
        return keys

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, at: int) -> int: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[int, ...]: ...
    def __getitem__(self, at: int | slice) -> int | tuple[int, ...]:
        return self.ids[at]
