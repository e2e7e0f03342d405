"""Thinking that a client carries for a server that keeps nothing, in the field that OpenAI calls `encrypted_content`.

The client could read the thinking anyway, and the model is its own: it is wrapped, not encrypted, and what comes back is
text for the prompt like any other.
"""

from __future__ import annotations

import base64
import binascii

from edgelm.messages.values import MessageError

_PREFIX = "edgelm1."


def wrap(thinking: str) -> str:
    """Return thinking as text without spaces."""
    return _PREFIX + base64.urlsafe_b64encode(thinking.encode()).decode()


def unwrap(carried: str, field: str) -> str:
    """Return what `wrap` was given.

    Raises:
        MessageError: it was not wrapped here.
    """
    if not carried.startswith(_PREFIX):
        raise MessageError(field, "it is not of this server, which can read its own alone")
    try:
        return base64.b64decode(carried.removeprefix(_PREFIX), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise MessageError(field, "it is damaged") from None
