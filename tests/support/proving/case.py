"""A tiny configuration to be proved: what transformers makes of it, and how the Hub published such models.

Cases are data (`proving.cases`): a family has one base and changes to it, each of which is a case of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

VOCAB = 320
WINDOW = 16
TOKENS = 90
"""Beyond windows, chunks and original contexts by several times."""

COMMON: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": VOCAB, "max_position_embeddings": 256,
    "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
}  # fmt: skip
TEXT = {**COMMON, "head_dim": 16}

DROP = object()
"""A key that published configs do not have."""
KEEP = object()
"""A key that they have as transformers 5 writes it."""
NESTED_ROPE = {"rope_parameters": KEEP}
"""Families whose first releases came with transformers 5."""


def rope(kind: str = "default", theta: float = 50_000.0, **more: Any) -> dict[str, Any]:
    """RoPE settings as transformers 5 writes them, with a base that nothing has by default."""
    return {"rope_type": kind, "rope_theta": theta, **more}


LLAMA3 = rope(
    "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64
)
YARN = rope("yarn", factor=4.0, original_max_position_embeddings=64, beta_fast=8.0)
LINEAR = rope("linear", factor=4.0)


def longrope(pairs: int, original: int = 64) -> dict[str, Any]:
    """Phi's scaling for heads that turn `pairs` pairs; `original` above or below the length of the text."""
    long = [1.0 + 0.5 * at for at in range(pairs)]
    short = [1.0 + 0.1 * at for at in range(pairs)]
    return rope(
        "longrope",
        short_factor=short,
        long_factor=long,
        original_max_position_embeddings=original,
        factor=4.0,
    )


@dataclass(frozen=True)
class Family:
    """One architecture as transformers configures it."""

    own: Mapping[str, Any] = field(default_factory=dict)
    """What differs from COMMON."""
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Name → what differs from the base; settings of a wrapper's text model under `text_config`."""
    published: Mapping[str, Any] = field(default_factory=dict)
    """Keys of config.json as the Hub has them, or DROP; those of a text model under `text_config`."""
    published_variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The same of variants that say it otherwise than the base."""
    renamed: tuple[tuple[str, str], ...] = ()
    """(pattern, replacement): names of tensors as the Hub has them, where `save_pretrained` writes others."""
    fused: bool = False
    """The Hub has tensors as the network of transformers 5 holds them, where `save_pretrained` takes them apart."""
    is_wrapper: bool = False
    """Settings of the text model lie in `text_config`."""
    kind: str = ""
    """transformers' `model_type`, where the family's name is longer."""


@dataclass(frozen=True)
class Case:
    """One configuration of one family."""

    family: str
    variant: str
    settings: Mapping[str, Any]
    definition: Family

    @property
    def name(self) -> str:
        """The family, and the variant if it is one."""
        return f"{self.family}: {self.variant}" if self.variant else self.family

    @property
    def architecture(self) -> str:
        """transformers' `model_type` of the whole."""
        return self.definition.kind or self.family

    @property
    def published(self) -> Mapping[str, Any]:
        """Keys of config.json as the Hub has them."""
        return self.definition.published_variants.get(self.variant, self.definition.published)

    @property
    def at_once(self) -> int:
        """Tokens to feed together first: longrope turns all of a text by whether its end is beyond the original context."""
        rope = self.settings.get("rope_parameters", {})
        original = rope.get("original_max_position_embeddings", TOKENS)
        return original + 6 if rope.get("rope_type") == "longrope" and original < TOKENS else 0

    def config(self) -> Any:
        """transformers' config."""
        import transformers

        kind = transformers.CONFIG_MAPPING[self.architecture]
        if self.definition.is_wrapper:
            return kind(**self.settings)
        known = {name for name in COMMON if _has(kind, name)}
        return kind(**{**{name: COMMON[name] for name in known}, **self.settings})


def _has(kind: Any, name: str) -> bool:
    fields = getattr(kind, "__dataclass_fields__", {})
    return name in fields or name in kind.attribute_map


def cases_of(families: Mapping[str, Family]) -> Iterator[Case]:
    """Every family's base, then its variants."""
    for name, family in families.items():
        yield Case(name, "", family.own, family)
        for variant, changes in family.variants.items():
            yield Case(name, variant, _changed(family.own, changes), family)


def _changed(own: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    nested = {"text_config", "attn_config", "ffn_config"}
    return {**own, **{k: {**own.get(k, {}), **v} if k in nested else v for k, v in changes.items()}}
