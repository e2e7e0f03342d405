"""Which chat template a tokenizer has, as a hash: what was learnt of conversations written one way says nothing of another."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def template_identity(tokenizer: Any) -> str | None:
    """Return the SHA-256, in hexadecimal, of the template of mlx-lm's TokenizerWrapper; None where it has no text of one."""
    template = getattr(tokenizer, "chat_template", None)
    if not template:
        return None
    # Some tokenizers have several by name.
    text = template if isinstance(template, str) else json.dumps(template, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
