"""The tokens with a role (BOS, EOS, unknown, padding) and the post-processor that adds the first two."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelm.errors import FormatError
from edgelm_converters.tokenizers.metadata import shorten

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TEMPLATE_SAFE = re.compile(r"[^\s:$][^\s:]*")
"""What a post-processor's template can name: white space and colons separate, `$` begins a variable."""


@dataclass(frozen=True)
class SpecialTokens:
    """Tokens by role, as spelled; None where the tokenizer has none.

    Raises:
        FormatError: BOS or EOS is to be added but is missing, or cannot be named in a template.
    """

    origin: Path
    bos: str | None = None
    eos: str | None = None
    unk: str | None = None
    pad: str | None = None
    add_bos: bool = False
    add_eos: bool = False

    def __post_init__(self) -> None:
        for role, token, added in (("BOS", self.bos, self.add_bos), ("EOS", self.eos, self.add_eos)):
            if added and token is None:
                raise FormatError(f"the tokenizer adds {role} but has no {role} token: {self.origin}")
            if added and token is not None and not TEMPLATE_SAFE.fullmatch(token):
                raise FormatError(
                    f"the {role} token is {shorten(token)}, expected no white space or colon: {self.origin}"
                )

    def config(self) -> dict[str, Any]:
        """Make the entries of tokenizer_config.json. transformers rebuilds the post-processor from the two flags."""
        named = {"bos_token": self.bos, "eos_token": self.eos, "unk_token": self.unk, "pad_token": self.pad}
        return {**named, "add_bos_token": self.add_bos, "add_eos_token": self.add_eos}

    def install(self, tokenizer: Tokenizer) -> None:
        """Make `tokenizer` know these as special and add BOS and EOS around what it encodes."""
        from tokenizers import AddedToken
        from tokenizers.processors import TemplateProcessing

        known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
        missing = dict.fromkeys(
            t for t in (self.bos, self.eos, self.unk, self.pad) if t is not None and t not in known
        )
        tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in missing])
        if not (self.add_bos or self.add_eos):
            return
        bos = self.bos if self.add_bos else None
        eos = self.eos if self.add_eos else None
        tokenizer.post_processor = TemplateProcessing(
            single=_template(bos, eos, "A", 0),
            pair=f"{_template(bos, eos, 'A', 0)} {_template(bos, eos, 'B', 1)}",
            special_tokens=[
                (token, tokenizer.token_to_id(token)) for token in dict.fromkeys((bos, eos)) if token
            ],
        )


def _template(bos: str | None, eos: str | None, sequence: str, type_id: int) -> str:
    parts = (bos, f"${sequence}", eos)
    return " ".join(f"{part}:{type_id}" for part in parts if part is not None)
