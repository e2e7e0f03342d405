"""Whether the model thinks before it answers, whether that is shown, and thinking that comes back with the next request."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Annotated, Literal

from pydantic import BaseModel, Field

_CARRIES = "edgelm.thinking."
"""Begins a signature that holds the thinking itself, which was not shown."""


class ThinkingConfig(BaseModel):
    """The field `thinking` of a request."""

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: Annotated[int, Field(ge=1024)] | None = None
    display: Literal["summarized", "omitted"] | None = None


def signature_of(thinking: str, *, is_shown: bool) -> str:
    """Return the signature of a thinking block: of one that is not shown, it brings the thinking back."""
    if is_shown:
        return hashlib.sha256(thinking.encode()).hexdigest()
    return _CARRIES + base64.b64encode(thinking.encode()).decode()


def thinking_of(shown: str, signature: str) -> str:
    """Return the thinking of a block that comes back: the text, or what the signature of an empty one holds."""
    if shown or not signature.startswith(_CARRIES):
        return shown
    try:
        return base64.b64decode(signature.removeprefix(_CARRIES), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""  # not one of ours: as opaque as that of any other server
