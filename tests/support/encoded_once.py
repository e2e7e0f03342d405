"""The text that ships is encoded once for every tokenizer that tests meet, and not in every conversion."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

LONG = 10_000
"""Characters from which on a text is worth remembering: no test asks for so long a one but by the corpus."""


@pytest.fixture(scope="session", autouse=True)
def _long_texts_are_encoded_once() -> Any:
    from transformers import PreTrainedTokenizerFast

    encode, known = PreTrainedTokenizerFast.encode, {}

    def remembered(self: Any, text: Any, *rest: Any, **settings: Any) -> list[int]:
        if not isinstance(text, str) or len(text) < LONG:
            return encode(self, text, *rest, **settings)
        said = repr((self.backend_tokenizer.to_str(), type(self), text, rest, sorted(settings.items())))
        key = hashlib.sha256(said.encode()).digest()
        if key not in known:
            known[key] = encode(self, text, *rest, **settings)
        return list(known[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PreTrainedTokenizerFast, "encode", remembered)
        yield
