"""Which tokens begin and end an answer, and the sampling a file recommends.

Knows the tokenizer's metadata keys and llama.cpp's reading of them, not the tokenizer.
"""

from __future__ import annotations

from typing import Any

from edgelm_converters.sources.gguf.metadata import Keys
from edgelm_converters.tokenizers.control import INFILLING_ENDS, ROLES, find_control
from edgelm_converters.tokenizers.vocabulary import TokenType

Config = dict[str, Any]

SAMPLING = {"temp": "temperature", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p"}
PENALTY = {"penalty_repeat": "repetition_penalty", "penalty_last_n": "penalty_last_n"}


def token_ids(keys: Keys) -> Config:
    """Read `bos_token_id`, `eos_token_id` (all tokens that end an answer) and `pad_token_id`, where known."""
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
    """transformers' `generation_config.json`: the special tokens, and sampling if the file recommends it.

    What llama.cpp means is said in transformers' words: a temperature of 0 is greedy, and a top-k that is not said is none
    (transformers would take 50). `penalty_last_n` is llama.cpp's own; -1 is the whole text and 0 no penalty.
    """
    advice = Keys(keys.metadata, "general.sampling", keys.path)
    drawn: Config = {name: advice.number(key) for key, name in SAMPLING.items() if advice.has(key)}
    if drawn:
        drawn = {"do_sample": drawn.get("temperature", 1) > 0, **drawn, "top_k": int(drawn.get("top_k", 0))}
    return {**token_ids(keys), **drawn, **_penalty(advice)}


def _penalty(advice: Keys) -> Config:
    said: Config = {name: advice.number(key) for key, name in PENALTY.items() if advice.has(key)}
    window = int(said.pop("penalty_last_n", -1))
    if "repetition_penalty" not in said or window == 0:
        return {}
    return {**said, **({"penalty_last_n": window} if window > 0 else {})}
