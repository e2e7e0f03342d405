"""Which tokens begin and end an answer, and the sampling a file recommends.

Knows the tokenizer's metadata keys, not the tokenizer.
"""

from __future__ import annotations

from typing import Any

from edgelm_converters.gguf.metadata import Keys

Config = dict[str, Any]

END_OF_TURN = ("<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>")
"""Tokens that end an answer; llama.cpp knows them by name where the file does not say (llama-vocab.cpp)."""
CONTROL_TOKEN = 3
SAMPLING = {"temp": "temperature", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p"}


def token_ids(keys: Keys) -> Config:
    """`bos_token_id`, `eos_token_id` (all tokens that end an answer) and `pad_token_id`, where known."""
    ends = [keys.token(name) for name in ("eos", "eot", "eom")] + _named_ends(keys)
    stops = list(dict.fromkeys(end for end in ends if end is not None))
    found: Config = {"bos_token_id": keys.token("bos"), "pad_token_id": keys.token("padding")}
    found["eos_token_id"] = stops[0] if len(stops) == 1 else stops or None
    return {name: value for name, value in found.items() if value is not None}


def _named_ends(keys: Keys) -> list[int | None]:
    tokens = keys.metadata.get("tokenizer.ggml.tokens")
    kinds = keys.metadata.get("tokenizer.ggml.token_type")
    if not isinstance(tokens, list) or not isinstance(kinds, list) or len(tokens) != len(kinds):
        return []
    return [
        token_id
        for token_id, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
        if kind == CONTROL_TOKEN and token in END_OF_TURN
    ]


def generation_config(keys: Keys) -> Config:
    """transformers' `generation_config.json`: the special tokens, and sampling if the file recommends it."""
    advice = Keys(keys.metadata, "general.sampling", keys.path)
    said: Config = {name: advice.number(key) for key, name in SAMPLING.items() if advice.has(key)}
    if "top_k" in said:
        said["top_k"] = int(said["top_k"])
    return {**token_ids(keys), **({"do_sample": True} if said else {}), **said}
