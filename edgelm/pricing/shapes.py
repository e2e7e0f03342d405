"""Sizes of an architecture as its config gives them, under whichever name; what it does not say is None, never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Config = Mapping[str, Any]

_EXPERTS_PER_TOKEN = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "top_k_experts")
_EXPERTS = ("num_local_experts", "n_routed_experts", "num_experts", "moe_num_experts")


def count_in(config: Config, *names: str) -> int | None:
    """Return the first of `names` that the (text) config gives as a positive integer."""
    text = config.get("text_config")
    values = [part.get(name) for part in (text, config) if isinstance(part, Mapping) for name in names]
    return next((value for value in values if isinstance(value, int) and value > 0), None)


def hidden_width(config: Config) -> int | None:
    """Return the width of hidden states."""
    return count_in(config, "hidden_size", "n_embd", "d_model", "dim", "model_dim")


def attention_heads(config: Config) -> int | None:
    """Return the heads of queries in one layer."""
    return count_in(config, "num_attention_heads", "n_head", "n_heads")


def key_heads(config: Config) -> int | None:
    """Return the heads of keys and values in one layer; as many as of queries where the config does not say."""
    named = count_in(config, "num_key_value_heads", "num_kv_heads", "multi_query_group_num")
    return named or attention_heads(config)


def feed_forward_width(config: Config, width: int) -> int:
    """Return the width that one token goes through after attention: that of the chosen experts, in a mixture.

    Args:
        width: of hidden states; four times that is taken where the config does not say.
    """
    expert = count_in(config, "moe_intermediate_size")
    dense = count_in(config, "intermediate_size", "n_inner", "ffn_dim") or 4 * width
    chosen = count_in(config, "num_experts_per_tok") or 1
    return max(dense, (expert or dense) * chosen)


def active_share(config: Config) -> float | None:
    """Return the share of the experts that one token goes through; None where the config does not say both numbers."""
    text = config.get("text_config") or config
    chosen, total = count_in(text, *_EXPERTS_PER_TOKEN), count_in(text, *_EXPERTS)
    return min(1.0, chosen / total) if chosen and total else None
