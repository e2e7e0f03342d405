"""Which tokens begin and end an answer, and the sampling a file recommends.

Knows the tokenizer's metadata keys and llama.cpp's reading of them, not the tokenizer.
"""

from __future__ import annotations

from typing import Any

from edgelm_converters.gguf.metadata import Keys
from edgelm_converters.tokenizers.control import INFILLING_ENDS, ROLES, find_control
from edgelm_converters.tokenizers.vocabulary import TokenType

Config = dict[str, Any]

SAMPLING = {"temp": "temperature", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p"}


def token_ids(keys: Keys) -> Config:
    """`bos_token_id`, `eos_token_id` (all tokens that end an answer) and `pad_token_id`, where known."""
    stops = _ends(keys)
    found: Config = {"bos_token_id": keys.token("bos"), "pad_token_id": keys.token("padding")}
    found["eos_token_id"] = stops[0] if len(stops) == 1 else stops or None
    return {name: value for name, value in found.items() if value is not None}


def _ends(keys: Keys) -> list[int]:
    named = {role: keys.token(role) for role in ROLES}
    roles = {role: token for role, token in named.items() if token is not None}
    tokens = keys.metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        return list(
            dict.fromkeys(roles[role] for role in ("eos", "eot", "eom", *INFILLING_ENDS) if role in roles)
        )
    known = {role: token for role, token in roles.items() if token < len(tokens)}
    # Types decide nothing here: what ends an answer is told by name and by spelling.
    return list(find_control(tokens, [TokenType.NORMAL] * len(tokens), known).ends)


def generation_config(keys: Keys) -> Config:
    """transformers' `generation_config.json`: the special tokens, and sampling if the file recommends it."""
    advice = Keys(keys.metadata, "general.sampling", keys.path)
    said: Config = {name: advice.number(key) for key, name in SAMPLING.items() if advice.has(key)}
    if "top_k" in said:
        said["top_k"] = int(said["top_k"])
    return {**token_ids(keys), **({"do_sample": True} if said else {}), **said}
