"""The shipped text by part, domain and document. Read from the package, so it works offline and from a wheel.

A file holds one domain; its documents are separated by a line with a form feed (a page break).
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from itertools import chain, zip_longest
from typing import Final, Literal

Part = Literal["calibration", "held_out"]
Message = dict[str, str]

DOMAINS: Final = ("prose", "dialogue", "documentation", "code", "maths", "languages")
_PAGE_BREAK = "\n\f\n"
_BETWEEN = "\n\n"
_ROLES: Final = {"User": "user", "Assistant": "assistant"}


@cache
def documents(part: Part, domain: str) -> tuple[str, ...]:
    """Return the documents of one domain (of `DOMAINS`), in the order of their file."""
    path = files("edgelm.corpus") / "data" / part / f"{domain}.txt"
    return tuple(text.strip("\n") for text in path.read_text(encoding="utf-8").split(_PAGE_BREAK))


def calibration_text() -> str:
    """Return all calibration text, a document of each domain in turn, so that any long stretch of it is mixed."""
    by_domain = [documents("calibration", domain) for domain in DOMAINS]
    in_turn = chain.from_iterable(zip_longest(*by_domain))
    return _BETWEEN.join(text for text in in_turn if text is not None)


def held_out() -> dict[str, str]:
    """Return the held-out text of each domain. Shares no long passage with the calibration text, which a test proves."""
    return {domain: _BETWEEN.join(documents("held_out", domain)) for domain in DOMAINS}


def conversations(part: Part) -> list[list[Message]]:
    """Return the dialogues as chat messages, for rendering with a model's own template."""
    return [_messages(text) for text in documents(part, "dialogue")]


def _messages(text: str) -> list[Message]:
    turns = re.split(r"(?:^|\n\n)(User|Assistant): ", text)[1:]
    return [{"role": _ROLES[who], "content": turn} for who, turn in zip(turns[::2], turns[1::2], strict=True)]
