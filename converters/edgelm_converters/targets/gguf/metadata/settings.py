"""A config's settings, looked up under whichever name the architecture has for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgelm.errors import FormatError

LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
CONTEXT = ("max_position_embeddings", "n_positions", "n_ctx", "model_max_length", "max_sequence_length")
HIDDEN = ("hidden_size", "n_embd", "d_model", "dim")
FEED_FORWARD = ("intermediate_size", "n_inner", "ffn_hidden_size")
HEADS = ("num_attention_heads", "n_head", "n_heads")
KV_HEADS = ("num_key_value_heads", "n_kv_heads")


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """A normalised config; what a wrapper says of its text model counts as said of the whole."""

    config: Mapping[str, Any]

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> ModelSettings:
        """Return the settings of the language model in `config`."""
        text = config.get("text_config")
        if not isinstance(text, dict):
            return cls(dict(config))
        ties = {name: config[name] for name in ("tie_word_embeddings",) if name in config}
        return cls({**{k: v for k, v in config.items() if k != "text_config"}, **ties, **text})

    def get(self, *names: str, default: Any = None) -> Any:
        """Return the first of `names` that is there and not null."""
        return next((self.config[name] for name in names if self.config.get(name) is not None), default)

    def number(self, *names: str) -> float | None:
        """Return the first of `names` as a float."""
        value = self.get(*names)
        return None if value is None else float(value)

    def size(self, *names: str) -> int:
        """Return the first of `names`, which must be a positive integer.

        Raises:
            FormatError: none of them is.
        """
        value = self.get(*names)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise FormatError(f"the config has {names[0]} {value!r}, expected a positive integer")
        return value

    @property
    def layers(self) -> int:
        """Return the number of layers."""
        return self.size(*LAYERS)

    @property
    def heads(self) -> int:
        """Return the number of attention heads."""
        return self.size(*HEADS)

    @property
    def kv_heads(self) -> int:
        """Return the number of heads of keys and values."""
        if self.get("multi_query"):
            return 1
        return int(self.get(*KV_HEADS, default=self.heads))

    @property
    def head(self) -> int:
        """Return the width of a head."""
        return int(self.get("head_dim", default=self.size(*HIDDEN) // self.heads))

    @property
    def rope(self) -> Mapping[str, Any]:
        """Return the parameters of the rotation of layers that see everything, flat."""
        nested = self.get("rope_parameters", default={})
        full = nested.get("full_attention", nested) if isinstance(nested, dict) else {}
        scaling = self.get("rope_scaling", default={})
        return {**(scaling if isinstance(scaling, dict) else {}), **full}

    @property
    def rope_kind(self) -> str:
        """Return the kind of scaling, "default" for none."""
        return str(self.rope.get("rope_type") or self.rope.get("type") or "default")

    @property
    def rope_base(self) -> float | None:
        """Return the base of the rotation of layers that see everything."""
        base = self.rope.get("rope_theta") or self.get("rope_theta", "rotary_emb_base")
        return None if base is None else float(base)

    @property
    def rotated(self) -> int:
        """Return how many dimensions of a head are rotated."""
        share = self.rope.get("partial_rotary_factor") or self.get(
            "partial_rotary_factor", "rotary_pct", default=1.0
        )
        return int(self.head * share)

    @property
    def windows(self) -> list[bool] | None:
        """Return for each layer whether it sees a window; None where the config does not say by layer."""
        types = self.get("layer_types")
        if isinstance(types, list):
            return [each in ("sliding_attention", "chunked_attention") for each in types]
        pattern = self.get("sliding_window_pattern")
        if isinstance(pattern, str):
            return [pattern[layer % len(pattern)] == "L" for layer in range(self.layers)]
        if isinstance(pattern, int) and pattern > 0:
            return [bool((layer + 1) % pattern) for layer in range(self.layers)]
        return None
